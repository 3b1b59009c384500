"""Model files, written and read back: `table.py` has one row per format, each with a folder of its own."""
