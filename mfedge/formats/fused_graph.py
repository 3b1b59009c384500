"""Fused operators in a model file: their shapes and multiply-adds, from the sizes that each has as attributes.

The formats' own libraries cannot infer these operators' shapes; `mfedge.kernels.layout` can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind

KINDS = {kind.row.name: kind for kind in Kind if kind.row.whole}  # as model files name them


def kind_of(operator: str) -> str | None:
    """One of KINDS, for the name of an operator's type ("Block", in TFLite "mfedge.Block.3"); None if it is none."""
    name = operator.removeprefix("mfedge.").rstrip(".0123456789")
    return name if name in KINDS else None


def madds(kind: str, config: Mapping[str, Any], features: tuple[int, ...] | None) -> int:
    """The multiply-adds of one run on a map (B, C, H + 1, W), or on images; 0 where its shape is not known."""
    return 0 if features is None else layout.madds(KINDS[kind], _sizes(kind, config), features)


def shapes(kind: str, config: Mapping[str, Any], features: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of its outputs, from the map or the images that come in."""
    return layout.output_shapes(KINDS[kind], _sizes(kind, config), features)


def of_file(data: bytes) -> dict[int, dict[str, int]]:
    """The attributes of every fused operator of a TFLite file, by the number of its first output tensor."""
    import struct

    from ai_edge_litert import schema_py_generated as schema

    from mfedge.formats.tflite.fused import MAGIC

    fields = Config._fields
    graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    found = {}
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        if operator.CustomOptionsLength():
            options = operator.CustomOptionsAsNumpy().tobytes()
            if options.startswith(MAGIC):
                values = struct.unpack_from(f"<{len(fields)}i", options, len(MAGIC))
                found[int(operator.Outputs(0))] = dict(zip(fields, values, strict=True))
    return found


def _sizes(kind: str, config: Mapping[str, Any]) -> Config:
    return layout.check_config(KINDS[kind], tuple(int(config.get(field, 0)) for field in Config._fields))
