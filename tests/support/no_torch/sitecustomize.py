"""On PYTHONPATH, a process and its children find neither PyTorch nor mfedge's networks, as on a device."""

import sys


class Absent:
    """A finder that says so before any other is asked."""

    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith(("torch.", "mfedge.nn")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
