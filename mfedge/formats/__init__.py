"""From one trace to a proven artifact: a module a format, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfedge.formats.lowering import Lowering

FORMATS = ("onnx", "openvino", "tflite")


def lowerings() -> dict[str, type[Lowering[Any]]]:
    """Every format's lowering, by name. Imported here: each brings its library."""
    from mfedge.formats.onnx.lower import OnnxLowering
    from mfedge.formats.openvino.lower import OpenvinoLowering
    from mfedge.formats.tflite.lower import TfliteLowering

    return {lowering.format: lowering for lowering in (OnnxLowering, OpenvinoLowering, TfliteLowering)}
