"""Which part of the network an operator belongs to, by the module path in its name."""

from __future__ import annotations

import re

from mfedge.bench.profile.schema import Part
from mfedge.formats.fused_graph import kind_of

LAYOUT = re.compile(r"^reorder", re.IGNORECASE)  # inserted by the runtime, in no file
BLOCK = re.compile(r"\bblocks[./]\d+/Block(_\d+)?(:\d)?$")  # a native one, where the runtime says another type
PLAIN = {"relu", "relu6", "clip", "clamp", "hardswish", "hswish", "relu_n1_to_1", "minimum", "maximum"}
RULES: tuple[tuple[re.Pattern[str], Part], ...] = (
    (re.compile(r"dynamic_relu|act[12]?[./]hyper|\bhyper\b"), "dynamic ReLU"),
    (re.compile(r"mobile_to_former"), "Mobile→Former"),
    (re.compile(r"former_to_mobile"), "Mobile←Former"),
    (re.compile(r"\bclassifier\b|\bhead\b"), "head"),
    (re.compile(r"\bstem\b|\bfeatures[./]0\b"), "stem"),
    (re.compile(r"\bmobile[./]act[12]\b"), "dynamic ReLU"),
    (re.compile(r"\bformer\b"), "Former"),
    (re.compile(r"\bmobile\b|\bblocks\b|\bfeatures\b"), "Mobile"),
)


def part_of(name: str, kind: str) -> Part:
    """The part of an operator.

    Args:
        name: as in the file: "blocks.3.former.project/Gemm_185".
        kind: the operator's type as the runtime calls it; a reorder belongs to the runtime, wherever it stands.
    """
    if LAYOUT.match(kind):
        return "layout"
    if kind_of(kind) == "Block" or BLOCK.search(name):
        return "block (fused)"
    path = re.sub(r"_(?=blocks|stem|classifier|features)", " ", name)
    for pattern, part in RULES:
        if pattern.search(path):
            plain = part == "dynamic ReLU" and kind.lower() in PLAIN and not re.search(r"dynamic_relu|hyper", path)
            return "Mobile" if plain else part
    return "other"
