"""Processes of their own, with limits: what somebody else wrote is opened there, and what is measured runs there.

`process.py` is the parent's side of any worker, `call.py` runs one function in one, `child.py` is that child.
"""
