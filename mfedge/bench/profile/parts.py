"""Which part of the network an operator belongs to, by the module path in its name and the families' own words."""

from __future__ import annotations

import re

from mfedge.families.table import FAMILIES
from mfedge.formats.fused_graph import kind_of

LAYOUT, OTHER, FUSED = "layout", "other", "block (fused)"
REORDER = re.compile(r"^reorder", re.IGNORECASE)  # inserted by the runtime, in no file
PLAIN = {"relu", "relu6", "clip", "clamp", "hardswish", "hswish", "relu_n1_to_1", "minimum", "maximum"}


def order() -> tuple[str, ...]:
    """Every part, as tables list them: the families' words, then what belongs to none."""
    named = [part for family in FAMILIES.values() for part in family.order]
    return tuple(dict.fromkeys([*named, FUSED, LAYOUT, OTHER]))


def part_of(name: str, kind: str) -> str:
    """The part of an operator.

    Args:
        name: as in the file: "blocks.3.former.project/Gemm_185".
        kind: the operator's type as the runtime calls it; a reorder belongs to the runtime, wherever it stands.
    """
    if REORDER.match(kind):
        return LAYOUT
    if kind_of(kind) == "Block":
        return FUSED
    path = re.sub(r"_(?=blocks|stem|classifier|features)", " ", name)
    for family in FAMILIES.values():
        for pattern, part in family.scopes:
            if re.search(pattern, path):
                plain = part == "dynamic ReLU" and kind.lower() in PLAIN and not re.search(r"dynamic_relu|hyper", path)
                return "Mobile" if plain else part
    return OTHER
