"""Processes, rounds and threads: what turns cases into raw samples."""
