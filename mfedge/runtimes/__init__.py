"""The runtimes that model files run in: `table.py` has one row per runtime, all of the protocol of `base.py`."""

from mfedge.runtimes.table import available, load

__all__ = ["available", "load"]
