"""A module per kind of input, or per few of them; each is imported where it is needed, with the libraries it needs."""

from __future__ import annotations

import importlib

from tests.fuzz.case import Kind

MODULES = {
    "toml": "tomls",
    "stored": "stored",
    "picture": "pictures",
    "checkpoint": "checkpoints",
    "manifest": "artifacts",
    "artifact": "artifacts",
    "place": "places",
    **{
        f"{name}{of}": name for name in ("onnx", "openvino", "tflite") for of in ("", "-native", "-variants")
    },  # portable, native; dynamic and half, whose seeds take PyTorch a while to write
}


def kind_named(name: str) -> Kind:
    """The row of this name in its module's KINDS."""
    rows = importlib.import_module(f"tests.fuzz.kinds.{MODULES[name]}").KINDS
    return next(row for row in rows if row.name == name)
