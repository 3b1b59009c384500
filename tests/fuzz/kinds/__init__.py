"""A file per kind of input."""

from __future__ import annotations

from tests.fuzz.case import Kind
from tests.fuzz.kinds import artifacts, checkpoints, onnx, openvino, pictures, places, stored, tflite, tomls

KINDS: dict[str, Kind] = {
    kind.name: kind
    for module in (tomls, stored, pictures, checkpoints, artifacts, onnx, openvino, tflite, places)
    for kind in module.KINDS
}
