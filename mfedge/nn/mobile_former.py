"""Mobile-Former: Bridging MobileNet and Transformer (Chen et al., CVPR 2022, arXiv 2108.05895).

A MobileNet and a transformer of at most six tokens side by side. Every block runs, in this order:
Mobile→Former on the block's input, Former, Mobile (its dynamic ReLU reads the new tokens), Mobile←Former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mfedge.families.mobile_former.spec import MF, Lite, MFDown, MobileFormerSpec
from mfedge.families.spec import halved
from mfedge.nn.bridge import FormerToMobile, MobileToFormer, ScoringMobileToFormer
from mfedge.nn.dynamic_relu import DynamicReLU, PlainReLU, SpatialDynamicReLU
from mfedge.nn.features import Features
from mfedge.nn.former import Former
from mfedge.nn.heads.classifier import Classifier
from mfedge.nn.layers import ConvNorm, initialize
from mfedge.nn.mobile import BneckLite, Mobile, MobileDown
from mfedge.nn.position_mixing import MixFormer, MixFormerToMobile, MixMobileToFormer


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


class MobileFormerBackbone(nn.Module):
    """Stem and blocks of Table 11: (B, 3, H, W) normalised RGB → features; H and W from 32 up."""

    def __init__(self, spec: MobileFormerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = None if spec.mobile_only else nn.Parameter(torch.randn(1, spec.tokens, spec.token_dim))
        self.stem = nn.Sequential(ConvNorm(3, spec.stem, 3, stride=2), nn.ReLU6())
        self.blocks = nn.ModuleList()
        self.channels, self.size = spec.stem, halved(spec.image_size)  # of the last map, at the spec's image size
        for block in spec.blocks:
            self.blocks.append(_build_block(block, self.channels, self.size, spec))
            self.channels = block.out
            if _halves(block):
                self.size = halved(self.size)

    def features(self, images: Tensor) -> Features:
        """The last map of every resolution, from half the image's down, and the tokens after the last block."""
        x, tokens = self.stem(images), self.tokens  # (1, M, D): broadcast until the first bridge makes it (B, M, D)
        maps = [x]
        for row, block in zip(self.spec.blocks, self.blocks, strict=True):
            x, tokens = block(x, tokens)
            if _halves(row):
                maps.append(x)
            else:
                maps[-1] = x
        return Features(tuple(maps), tokens)

    def states(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The feature map (B, C, H, W) and tokens (B, M, D) after every block, in order."""
        x = self.stem(images)
        tokens = None if self.tokens is None else self.tokens.expand(images.shape[0], -1, -1)
        for block in self.blocks:
            x, tokens = block(x, tokens)
            yield x, tokens


class MobileFormer(MobileFormerBackbone):
    """The classifier of section 4.1: (B, 3, H, W) normalised RGB → (B, classes) logits; H and W from 32 up."""

    def __init__(self, spec: MobileFormerSpec, num_classes: int = 1000) -> None:
        super().__init__(spec)
        # Tokens look at the last map once more before the classifier reads the first of them.
        self.mobile_to_former = None if spec.mobile_only else _last_bridge(self.channels, self.size, spec)
        self.classifier = Classifier(self.channels, 0 if spec.mobile_only else spec.token_dim, spec, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        maps, tokens = self.features(images)
        if self.mobile_to_former is not None:
            tokens = self.mobile_to_former(maps[-1], tokens)
        return self.classifier(maps[-1], tokens)


def _halves(block: Lite | MF | MFDown) -> bool:
    """Whether a block's output has half the height and width of its input."""
    return isinstance(block, MFDown) or (isinstance(block, Lite) and block.stride == 2)


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
        out_size = halved(size) if isinstance(block, MFDown) else size
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
