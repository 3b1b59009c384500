"""What the libraries that mfedge uses would send about their user, or keep in his home folder, switched off.

`mfedge/__init__.py` calls this before any of them can be imported; a worker's process does so too, because it imports
mfedge. Nothing else in the package mentions telemetry.
"""

from __future__ import annotations

import os
import sys
from typing import Any, cast


def switch_off() -> None:
    """Before onnxruntime and OpenVINO are imported.

    onnxruntime ≥ 1.29 writes a device's id and a database of events under the user's cache folder and looks up its
    collector; only this variable stops it, and only before the import. OpenVINO imports `openvino_telemetry`, which
    writes ~/intel and sends an event at each import; no variable stops it, but OpenVINO does without the package if it
    is not there, and a None among the modules is how Python says that it is not.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
