"""Mobile: the convolutional half of each block (paper section 3.1, Figure 3; downsampling after Figure 7)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mfedge.nn.layers import ConvNorm

Activation = Callable[[int], nn.Module]  # channels → an activation that takes (x, tokens, scores)


class BneckLite(nn.Module):
    """The lite bottleneck before the first bridge: expanding depthwise, ReLU6, pointwise. Does not touch tokens.

    (B, C, H, W) → (B, out, ⌈H/stride⌉, ⌈W/stride⌉); a skip around it where nothing changes shape.
    """

    def __init__(
        self, in_channels: int, expanded: int, out_channels: int, stride: int = 1, kernel: int = 3, groups: int = 1
    ) -> None:
        super().__init__()
        # The shuffle follows the activation here, but a ReLU6 does not care which channel it sees.
        shuffle = in_channels if groups > 1 else 1
        self.depthwise = ConvNorm(in_channels, expanded, kernel, stride, groups=in_channels, shuffle=shuffle)
        self.act = nn.ReLU6()
        self.project = ConvNorm(expanded, out_channels, groups=groups)
        self.skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.act(self.depthwise(x)))
        return x + y if self.skip else y


class Mobile(nn.Module):
    """Inverted bottleneck with dynamic ReLU: pointwise, depthwise, pointwise, and a skip where the width stays.

    (B, C, H, W), (B, M, D) → (B, out, H, W).
    """

    def __init__(
        self, in_channels: int, expanded: int, out_channels: int, act: Activation, kernel: int = 3, groups: int = 1
    ) -> None:
        super().__init__()
        self.expand = ConvNorm(in_channels, expanded, groups=groups, shuffle=groups)
        self.act1 = act(expanded)
        self.depthwise = ConvNorm(expanded, expanded, kernel, groups=expanded)
        self.act2 = act(expanded)
        self.project = ConvNorm(expanded, out_channels, groups=groups, shuffle=groups)
        self.skip = in_channels == out_channels

    def forward(self, x: Tensor, tokens: Tensor | None, scores: Tensor | None = None) -> Tensor:
        y = self.act1(self.expand(x), tokens, scores)
        y = self.act2(self.depthwise(y), tokens, scores)
        y = self.project(y)
        return x + y if self.skip else y


class MobileDown(nn.Module):
    """Downsampling Mobile: depthwise of stride 2 and pointwise, then depthwise and pointwise with a skip.

    (B, C, H, W), (B, M, D) → (B, out, ⌈H/2⌉, ⌈W/2⌉).
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        expanded2: int,
        act: Activation,
        kernel: int = 3,
        groups: int = 1,
    ) -> None:
        super().__init__()
        shuffle1, shuffle2 = (in_channels, out_channels) if groups > 1 else (1, 1)
        self.depthwise1 = ConvNorm(in_channels, expanded, kernel, 2, groups=in_channels, shuffle=shuffle1)
        self.act1 = act(expanded)
        self.project1 = ConvNorm(expanded, out_channels, groups=groups)
        self.depthwise2 = ConvNorm(out_channels, expanded2, kernel, groups=out_channels, shuffle=shuffle2)
        self.act2 = act(expanded2)
        self.project2 = ConvNorm(expanded2, out_channels, groups=groups)

    def forward(self, x: Tensor, tokens: Tensor | None, scores: Tensor | None = None) -> Tensor:
        x = self.project1(self.act1(self.depthwise1(x), tokens, scores))
        y = self.project2(self.act2(self.depthwise2(x), tokens, scores))
        return x + y
