"""The fused operators, one file each: a plain PyTorch reference, its registration, its gradient, its cost.

`torch.ops.mfedge.*` is what the networks call and what a trace keeps as one node; each export format lowers that node
its own way, and a native kernel may compute it. Importing this package registers every operator of its files.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

from mfedge.ops.block import block, block_reference
from mfedge.ops.dynamic_relu import dynamic_relu, dynamic_relu_reference
from mfedge.ops.former_attention import former_attention, former_attention_reference
from mfedge.ops.former_to_mobile import former_to_mobile, former_to_mobile_reference
from mfedge.ops.head import head, head_reference
from mfedge.ops.mobile_to_former import mobile_to_former, mobile_to_former_reference
from mfedge.ops.stem import stem, stem_reference

__all__ = [
    "block",
    "block_reference",
    "dynamic_relu",
    "dynamic_relu_reference",
    "former_attention",
    "former_attention_reference",
    "former_to_mobile",
    "former_to_mobile_reference",
    "head",
    "head_reference",
    "mobile_to_former",
    "mobile_to_former_reference",
    "stem",
    "stem_reference",
]
