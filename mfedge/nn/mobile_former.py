"""Mobile-Former: Bridging MobileNet and Transformer (Chen et al., CVPR 2022, arXiv 2108.05895).

A MobileNet and a transformer of at most six tokens side by side. Every block runs, in this order:
Mobile→Former on the block's input, Former, Mobile (its dynamic ReLU reads the new tokens), Mobile←Former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mfedge.nn.bridge import FormerToMobile, MobileToFormer, ScoringMobileToFormer
from mfedge.nn.dynamic_relu import DynamicReLU, PlainReLU, SpatialDynamicReLU
from mfedge.nn.former import Former
from mfedge.nn.layers import ChannelShuffle, ConvNorm, initialize
from mfedge.nn.mobile import BneckLite, Mobile, MobileDown
from mfedge.nn.position_mixing import MixFormer, MixFormerToMobile, MixMobileToFormer
from mfedge.spec import MF, Lite, MFDown, MobileFormerSpec


class LiteBlock(nn.Module):
    """A lite bottleneck as a block: (B, C, H, W), tokens → (B, out, H', W'), the same tokens."""

    def __init__(self, mobile: BneckLite) -> None:
        super().__init__()
        self.mobile = mobile

    def forward(self, x: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.mobile(x), tokens


class MobileOnlyBlock(nn.Module):
    """A Mobile-Former block without its Former and bridge (Table 4, first row)."""

    def __init__(self, mobile: Mobile | MobileDown) -> None:
        super().__init__()
        self.mobile = mobile

    def forward(self, x: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.mobile(x, None), tokens


class MobileFormerBlock(nn.Module):
    """Mobile→Former, Former, Mobile, Mobile←Former (Figure 3).

    (B, C, H, W), (B, M, D) → (B, out, H', W'), (B, M, D).
    """

    def __init__(
        self,
        mobile_to_former: nn.Module,
        former: nn.Module,
        mobile: Mobile | MobileDown,
        former_to_mobile: nn.Module,
    ) -> None:
        super().__init__()
        self.mobile_to_former = mobile_to_former
        self.former = former
        self.mobile = mobile
        self.former_to_mobile = former_to_mobile

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.former(self.mobile_to_former(x, tokens))
        x = self.mobile(x, tokens)
        return self.former_to_mobile(x, tokens), tokens


class SpatialMobileFormerBlock(MobileFormerBlock):
    """A Mobile-Former block whose dynamic ReLUs are spatial-aware: they read Mobile→Former's scores."""

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens, scores = self.mobile_to_former(x, tokens)
        tokens = self.former(tokens)
        x = self.mobile(x, tokens, scores)
        return self.former_to_mobile(x, tokens), tokens


class Classifier(nn.Module):
    """Pointwise convolution, average over pixels, the first token beside it, two Linear layers (section 4.1).

    (B, C, H, W), (B, M, D) or None → (B, classes).
    """

    def __init__(self, in_channels: int, token_dim: int, spec: MobileFormerSpec, num_classes: int) -> None:
        super().__init__()
        self.shuffle = ChannelShuffle(spec.groups) if spec.groups > 1 else nn.Identity()
        self.conv = ConvNorm(in_channels, spec.head.channels, groups=spec.groups)
        self.act = nn.ReLU6()
        self.pool_act = nn.Hardswish()
        self.hidden = nn.Linear(spec.head.channels + token_dim, spec.head.hidden)
        self.norm = nn.BatchNorm1d(spec.head.hidden)
        self.hidden_act = nn.Hardswish()
        self.dropout = nn.Dropout(spec.head.dropout)
        self.classify = nn.Linear(spec.head.hidden, num_classes)

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        x = self.act(self.conv(self.shuffle(x)))
        x = self.pool_act(x.mean(dim=(2, 3)))  # (B, C)
        if tokens is not None:
            x = torch.cat([x, tokens[:, 0]], dim=1)
        x = self.hidden_act(self.norm(self.hidden(x)))
        return self.classify(self.dropout(x))


class MobileFormer(nn.Module):
    """The classifier of section 4.1: (B, 3, H, W) normalised RGB → (B, classes) logits; H and W from 32 up."""

    def __init__(self, spec: MobileFormerSpec, num_classes: int = 1000) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = None if spec.mobile_only else nn.Parameter(torch.randn(1, spec.tokens, spec.token_dim))
        self.stem = nn.Sequential(ConvNorm(3, spec.stem, 3, stride=2), nn.ReLU6())
        self.blocks = nn.ModuleList()
        channels, size = spec.stem, _halve(spec.image_size)
        for block in spec.blocks:
            self.blocks.append(_build_block(block, channels, size, spec))
            channels = block.out
            if isinstance(block, MFDown) or (isinstance(block, Lite) and block.stride == 2):
                size = _halve(size)
        # Tokens look at the last map once more before the classifier reads the first of them.
        self.mobile_to_former = None if spec.mobile_only else _last_bridge(channels, size, spec)
        self.classifier = Classifier(channels, 0 if spec.mobile_only else spec.token_dim, spec, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        tokens: Tensor | None = self.tokens  # (1, M, D): broadcast until the first bridge makes it (B, M, D)
        for block in self.blocks:
            x, tokens = block(x, tokens)
        if self.mobile_to_former is not None:
            tokens = self.mobile_to_former(x, tokens)
        return self.classifier(x, tokens)

    def states(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The feature map (B, C, H, W) and tokens (B, M, D) after every block, in order."""
        x = self.stem(images)
        tokens: Tensor | None = None if self.tokens is None else self.tokens.expand(images.shape[0], -1, -1)
        for block in self.blocks:
            x, tokens = block(x, tokens)
            yield x, tokens


def _build_block(block: Lite | MF | MFDown, channels: int, size: int, spec: MobileFormerSpec) -> nn.Module:
    """One block of Table 11 on `channels` input channels; `size` is its input resolution at `spec.image_size`."""
    if isinstance(block, Lite):
        return LiteBlock(BneckLite(channels, block.expand, block.out, block.stride, spec.kernel, spec.groups))

    act = _activation(spec)
    mobile: Mobile | MobileDown
    if isinstance(block, MFDown):
        mobile = MobileDown(channels, block.expand, block.out, block.expand2, act, spec.kernel, spec.groups)
    else:
        mobile = Mobile(channels, block.expand, block.out, act, spec.kernel, spec.groups)
    if spec.mobile_only:
        return MobileOnlyBlock(mobile)

    D, M = spec.token_dim, spec.tokens
    if spec.mixing == "position-mlp":
        out_size = _halve(size) if isinstance(block, MFDown) else size
        return MobileFormerBlock(
            MixMobileToFormer(channels, D, M, size * size),
            MixFormer(D, M, spec.former_ffn),
            mobile,
            MixFormerToMobile(block.out, D, M, out_size * out_size),
        )
    former, former_to_mobile = Former(D, spec.former_ffn), FormerToMobile(block.out, D)
    if spec.activation == "spatial-dynamic-relu":
        return SpatialMobileFormerBlock(ScoringMobileToFormer(channels, D), former, mobile, former_to_mobile)
    return MobileFormerBlock(MobileToFormer(channels, D), former, mobile, former_to_mobile)


def _last_bridge(channels: int, size: int, spec: MobileFormerSpec) -> nn.Module:
    if spec.mixing == "position-mlp":
        return MixMobileToFormer(channels, spec.token_dim, spec.tokens, size * size)
    return MobileToFormer(channels, spec.token_dim)


def _activation(spec: MobileFormerSpec) -> Callable[[int], nn.Module]:
    if spec.activation == "relu":
        return lambda channels: PlainReLU()
    kind = SpatialDynamicReLU if spec.activation == "spatial-dynamic-relu" else DynamicReLU
    return lambda channels: kind(channels, spec.token_dim)


def _halve(size: int) -> int:
    """Output size of a convolution of stride 2 with its padding: ⌈size / 2⌉."""
    return (size + 1) // 2
