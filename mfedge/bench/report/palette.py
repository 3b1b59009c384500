"""Colours a colour-blind reader can tell apart (Okabe and Ito, 2008), one a runtime, the same in every chart."""

from __future__ import annotations

RUNTIMES = {
    "torch": "#D55E00",
    "onnxruntime": "#0072B2",
    "openvino": "#009E73",
    "litert": "#CC79A7",
    "tflite-runtime": "#E69F00",
}
LABELS = {
    "torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT",
    "tflite-runtime": "tflite-runtime",
}  # fmt: skip
OTHERS = ("#56B4E9", "#8C6D00", "#444444")
INK, QUIET, GRID = "#222222", "#666666", "#DDDDDD"


def colour(runtime: str, runtimes: tuple[str, ...]) -> str:
    """Of a runtime's lines."""
    unknown = [name for name in runtimes if name not in RUNTIMES]
    return RUNTIMES.get(runtime) or OTHERS[unknown.index(runtime) % len(OTHERS)]


def label(runtime: str) -> str:
    """As its makers write it."""
    return LABELS.get(runtime, runtime)
