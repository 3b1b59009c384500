"""Every block becomes one operator, for the native kernels: the whole network is a stem, its blocks and a head.

    relu6(conv(x)), then blocks.0          →  x, a = stem(x)
    blocks.i(x, z), from blocks.1          →  x, z, a = block(x, z, a)
    mobile_to_former(x, z), classifier(x)  →  head(x, z, a)

a is the attention result that the next Mobile→Former needs; the operator that writes x computes it. The weights of that
query, Wz + b, are therefore gathered one operator earlier than in the network. For the stem the query is a constant. x
has a row of zeros below its pixels.

Not a search for a pattern: what a Mobile-Former looks like, its spec says, and the rewrites before this one have left
its layers in place under their names. Their weights are gathered into the two vectors of `mfedge.kernels.layout`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mfedge.families.mobile_former.spec import (
    BRIDGE_HEADS,
    FFN_RATIO,
    FORMER_HEADS,
    HYPER_REDUCTION,
    MF,
    Lite,
    MFDown,
    MobileFormerSpec,
)
from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind


class FusedOperator(nn.Module):
    """What three parts have in common: the flat weights as buffers, the sizes."""

    def __init__(self, config: Config, weights: Tensor, matrices: Tensor | None = None) -> None:
        super().__init__()
        self.config = list(config)
        self.register_buffer("weights", weights)
        if matrices is not None:
            self.register_buffer("matrices", matrices)


class Stem(FusedOperator):
    """(B, 3, H, W) → (B, C, H' + 1, W'), (B, M, C)."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ops.mfedge.stem(images, self.weights, self.config)


class Block(FusedOperator):
    """(B, C, H + 1, W), (B | 1, M, D), (B, M, C) → (B, C', H' + 1, W'), (B, M, D), (B, M, C')."""

    def forward(self, features: Tensor, tokens: Tensor, attended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.mfedge.block(features, tokens, attended, self.weights, self.matrices, self.config)


class Head(FusedOperator):
    """(B, C, H + 1, W), (B | 1, M, D), (B, M, C) → (B, classes)."""

    def forward(self, features: Tensor, tokens: Tensor, attended: Tensor) -> Tensor:
        return torch.ops.mfedge.head(features, tokens, attended, self.weights, self.matrices, self.config)


def fuse_blocks(graph: fx.GraphModule, spec: MobileFormerSpec) -> fx.GraphModule:
    """A new graph of one operator per block, from one whose layers are folded.

    Args:
        graph: after every rewrite that folds one layer into another; none that merges or names them.
        spec: of the network it was made from, which `check_kernels` has accepted.
    """
    with torch.inference_mode(False):  # buffers that count the writes to them, wherever this is called
        tokens = graph.get_parameter("tokens").detach().clone()
        parts = _parts(graph, spec)
    root = nn.Module()
    root.register_buffer("tokens", tokens)
    for name, part in parts.items():
        *path, last = name.split(".")
        parent = root
        for step in path:
            if not hasattr(parent, step):
                parent.add_module(step, nn.Module())
            parent = parent.get_submodule(step)
        parent.add_module(last, part)

    fused = fx.Graph()
    images = fused.placeholder("images")
    z = fused.get_attr("tokens")
    for name, part in parts.items():
        if isinstance(part, Stem):
            x, a = _outputs(fused.call_module(name, (images,)), 2)
        elif isinstance(part, Block):
            x, z, a = _outputs(fused.call_module(name, (x, z, a)), 3)
        else:
            fused.output(fused.call_module(name, (x, z, a)))
    return fx.GraphModule(root, fused, "MobileFormer").eval()


def _outputs(node: fx.Node, number: int) -> list[fx.Node]:
    return [node.graph.call_function(operator.getitem, (node, i)) for i in range(number)]


def _parts(graph: fx.GraphModule, spec: MobileFormerSpec) -> dict[str, FusedOperator]:
    """The operators by their place in the network, in the order they run."""
    lite, *blocks = spec.blocks
    assert isinstance(lite, Lite), "check_kernels has seen to it"
    config = Config(
        spec.stem, lite.expand, lite.out, stride=lite.stride, tokens=spec.tokens, heads=BRIDGE_HEADS,
    )  # fmt: skip
    *parameters, (query, _) = layout.vectors(Kind.STEM, config)
    weights = torch.cat([_gather(graph, parameters), _of_learned_tokens(graph, query).flatten()])
    found: dict[str, FusedOperator] = {"stem": Stem(config, weights)}
    both = Config(
        tokens=spec.tokens, token_dim=spec.token_dim, heads=BRIDGE_HEADS, former_heads=FORMER_HEADS,
        ffn=FFN_RATIO * spec.token_dim if spec.former_ffn else 0,
        hyper=spec.token_dim // HYPER_REDUCTION if spec.activation == "dynamic-relu" else 0,
    )  # fmt: skip
    channels = lite.out
    for i, block in enumerate(blocks, start=1):
        assert isinstance(block, MF | MFDown), "check_kernels has seen to it"
        down = isinstance(block, MFDown)
        config = both._replace(
            in_channels=channels, expand=block.expand, out_channels=block.out,
            expand2=block.expand2 if isinstance(block, MFDown) else 0, stride=2 if down else 1,
        )  # fmt: skip
        following = f"blocks.{i + 1}." if i < len(blocks) else ""
        found[f"blocks.{i}"] = Block(config, *_both(graph, Kind.BLOCK, config, f"blocks.{i}.", following))
        channels = block.out
    classes = graph.get_parameter("classifier.classify.bias").numel()
    config = Config(
        channels, spec.head.channels, tokens=spec.tokens, token_dim=spec.token_dim,
        hidden=spec.head.hidden, classes=classes,
    )  # fmt: skip
    found["head"] = Head(config, *_both(graph, Kind.HEAD, config))
    return found


def _both(
    graph: fx.GraphModule, kind: Kind, config: Config, prefix: str = "", following: str = ""
) -> tuple[Tensor, Tensor]:
    """(weights, matrices) of an operator."""
    vectors, matrices = layout.vectors(kind, config), layout.matrices(kind, config)
    return _gather(graph, vectors, prefix, following), _gather(graph, matrices, prefix, following)


@torch.no_grad()
def _of_learned_tokens(graph: fx.GraphModule, name: str) -> Tensor:
    """A Linear layer of them, (1, M, C), rounded once."""
    parameters = (graph.get_parameter(path) for path in ("tokens", f"{name}.weight", f"{name}.bias"))
    return F.linear(*(parameter.double() for parameter in parameters)).float()


@torch.no_grad()
def _gather(graph: fx.GraphModule, parts: Iterable[layout.Part], prefix: str = "", following: str = "") -> Tensor:
    """The parameters of these names below `prefix`, or below `following` for "next.", end to end, (n,)."""
    found = []
    for name, shape in parts:
        path = following + name.removeprefix("next.") if name.startswith("next.") else prefix + name
        value = graph.get_parameter(path)
        if tuple(value.shape) != shape:
            raise AssertionError(f"{path}: expected {shape}, found {tuple(value.shape)}")
        found.append(value.reshape(-1))
    return torch.cat(found)
