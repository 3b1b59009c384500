"""Native operators in a model file: their shapes and multiply-adds, by the sizes that each carries as attributes.

No format's own tools know them. `mfedge.kernels.layout` does; it is imported when a file has such operators, for it
brings PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = ("Stem", "Block", "Head")  # as ONNX and OpenVINO name them; "mfedge.Block.3" in TFLite


def kind_of(operator: str) -> str | None:
    """One of KINDS, for the name of an operator's type; None if it is not native."""
    name = operator.removeprefix("mfedge.").rstrip(".0123456789")
    return name if name in KINDS else None


def madds(kind: str, config: Mapping[str, Any], features: tuple[int, ...] | None) -> int:
    """Of one run on a map (B, C, H + 1, W), or images; 0 where its shape is not known."""
    if features is None:
        return 0
    known, sizes = _known(kind, config)
    from mfedge.kernels import layout

    return features[0] * layout.madds(known, sizes, *layout.height_width(known, features))


def shapes(kind: str, config: Mapping[str, Any], features: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of its outputs, from the map or images that come in."""
    from mfedge.kernels.layout import PADDING_ROWS, halved, height_width

    known, sizes = _known(kind, config)
    B, (H, W) = features[0], height_width(known, features)
    if kind == "Head":
        return [(B, sizes.classes)]
    halvings = (sizes.stride == 2) + (kind == "Stem")
    for _ in range(halvings):
        H, W = halved(H), halved(W)
    tokens = [(B, sizes.tokens, sizes.token_dim)] if kind == "Block" else []
    return [(B, sizes.out_channels, H + PADDING_ROWS, W), *tokens, (B, sizes.tokens, sizes.out_channels)]


def of_file(data: bytes) -> dict[int, dict[str, int]]:
    """The attributes of every native operator of a TFLite file, by the number of its first output tensor."""
    import struct

    from ai_edge_litert import schema_py_generated as schema

    from mfedge.formats.tflite.fused import MAGIC
    from mfedge.kernels.layout import Config

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


def _known(kind: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """(Kind, Config) of `mfedge.kernels.layout`."""
    from mfedge.kernels.layout import Config, Kind, check_config

    known = Kind[kind.upper()]
    return known, check_config(known, [int(config.get(field, 0)) for field in Config._fields])
