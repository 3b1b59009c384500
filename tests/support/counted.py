"""The twin of `mfedge.count`: parameters and multiply-adds of a real network, by PyTorch's own counter.

The network is run on the meta device: shapes only, no data, any size at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mfedge.families.costs import PartCount
from mfedge.families.mobile_former.spec import MobileFormerSpec
from mfedge.families.spec import Spec
from mfedge.nn import MobileFormer, bridge, former
from mfedge.nn.bridge import FormerToMobile, MobileToFormer
from mfedge.nn.dynamic_relu import DynamicReLU
from mfedge.nn.former import Former
from mfedge.zoo import build

LAST_BRIDGE = "mobile_to_former"
# Multiply-adds per output element that the paper-like convention adds: those of mfedge.families.costs, by layer.
PAPER_LIKE: dict[type[nn.Module], float] = {nn.BatchNorm2d: 1.0, nn.ReLU6: 0.5, nn.Hardswish: 0.5, DynamicReLU: 1.5}
PAPER_LIKE_SOFTMAX = 1.0  # an element of an attention map


def counted(spec: Spec, height: int, width: int, num_classes: int) -> tuple[PartCount, ...]:
    """The rows of `mfedge.count.count`, counted on the network itself."""
    with torch.device("meta"):
        network = build(spec, num_classes)
        images = torch.empty(1, 3, height, width)
    parts = dict(_parts(network))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _shapes(parts) as shapes, _extras(network, parts) as extras, counter:
        network(images)

    flops = counter.get_flop_counts()
    fitted = isinstance(network, MobileFormer)
    rows = []
    if isinstance(network, MobileFormer) and network.tokens is not None:
        shape = tuple(network.tokens.shape[1:])
        rows.append(PartCount("tokens", "learned tokens", shape, shape, network.tokens.numel(), 0, 0.0))
    for name, part in parts.items():
        madds = _madds(flops[f"{type(network).__name__}.{name}"])
        paper_like = 0.0 if name == LAST_BRIDGE else madds + extras[name]
        params = sum(parameter.numel() for parameter in part.parameters())
        rows.append(PartCount(name, _kind(spec, name), *shapes[name], params, madds, paper_like if fitted else None))
    assert sum(row.params for row in rows) == sum(parameter.numel() for parameter in network.parameters())
    assert sum(row.madds for row in rows) == _madds(flops["Global"])
    return tuple(rows)


def _madds(flops: dict[Any, int]) -> int:
    """A flop counter counts a multiply-add as two."""
    return sum(flops.values()) // 2


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The rows of a table, in the order they are computed."""
    for name, child in network.named_children():
        if name in ("blocks", "features"):
            for i, block in child.named_children():
                yield f"{name}.{i}", block
        else:
            yield name, child


def _kind(spec: Spec, name: str) -> str:
    """What a row is, in the spec's words."""
    if isinstance(spec, MobileFormerSpec) and name.startswith("blocks."):
        return str(spec.blocks[int(name.partition(".")[2])].__struct_config__.tag)
    if name.startswith("features."):
        i = int(name.partition(".")[2])
        return {0: "stem", len(spec.blocks) + 1: "convolution"}.get(i, "inverted-residual")
    return {LAST_BRIDGE: "last bridge"}.get(name, name)


@contextmanager
def _shapes(parts: dict[str, nn.Module]) -> Iterator[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
    """While a network runs: every part's input and output shape, without the batch."""
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    with ExitStack() as hooks:
        for name, part in parts.items():

            def note(module: nn.Module, inputs: tuple[Any, ...], output: Any, name: str = name) -> None:
                first = output[0] if isinstance(output, tuple) else output
                shapes[name] = tuple(inputs[0].shape[1:]), tuple(first.shape[1:])

            hooks.callback(part.register_forward_hook(note).remove)
        yield shapes


@contextmanager
def _extras(network: nn.Module, parts: dict[str, nn.Module]) -> Iterator[dict[str, float]]:
    """While a network runs: what the paper-like convention adds to each part's strict count, or takes off it."""
    extras: dict[str, float] = defaultdict(float)
    with ExitStack() as hooks:
        for name, part in parts.items():
            for module in part.modules():

                def note(module: nn.Module, inputs: tuple[Any, ...], output: Any, name: str = name) -> None:
                    extras[name] += _extra(module, inputs, output)

                hooks.callback(module.register_forward_hook(note).remove)
        yield extras


def _extra(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> float:
    for kind, factor in PAPER_LIKE.items():
        if isinstance(module, kind):
            return factor * int(output.numel())
    if isinstance(module, MobileToFormer):
        gate = module.gate[0]
        assert isinstance(gate, nn.Linear)
        return PAPER_LIKE_SOFTMAX * _bridge_map(*inputs) - int(inputs[1].shape[1]) * gate.weight.numel()
    if isinstance(module, FormerToMobile):
        return PAPER_LIKE_SOFTMAX * _bridge_map(*inputs)
    if isinstance(module, Former):
        return PAPER_LIKE_SOFTMAX * former.HEADS * int(inputs[0].shape[1]) ** 2
    return 0.0


def _bridge_map(features: Tensor, tokens: Tensor) -> int:
    """Elements of a bridge's attention map, N·M·H·W, for (B, C, H, W) and (B, M, D)."""
    return bridge.HEADS * tokens.shape[1] * math.prod(features.shape[2:])
