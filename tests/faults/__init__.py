"""Commands that are interrupted, and disks that fail: what is left is what was there before, or the whole new answer.

`commands.py` says what each command writes, `inject.py` breaks it once, `disk.c` is a disk that fails at a chosen
operation, and ``python -m tests.faults`` breaks everything many times and prints the table of SECURITY.md.
"""
