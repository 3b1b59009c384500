"""Processes in which files that somebody else wrote are opened, with limits on memory and time.

`process.py` is the parent's side of any worker, `call.py` runs one function in one, `child.py` is the process itself,
and `foreign.py` is what the code that opens files tells its worker. `mfedge bench` measures in workers of its own, each
of which is a `process.Process` too.
"""
