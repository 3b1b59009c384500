"""Small parts that both network families share, and their initialisation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A convolution without bias, its BatchNorm, and after both an optional channel shuffle.

    (B, C, H, W) → (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉). The shuffle, with `shuffle` groups, is
    what lets the grouped pointwise convolutions of Mobile-Former-26M exchange information.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, shuffle: int = 1
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.shuffle = ChannelShuffle(shuffle) if shuffle > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.norm(self.conv(x)))


class ChannelShuffle(nn.Module):
    """Channel g·(C/groups) + c becomes channel c·groups + g (ShuffleNet, section 3.1). (B, C, H, W) → same."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return F.channel_shuffle(x, self.groups)

    def source(self, channels: int) -> Tensor:
        """(C,) int64: output channel i is input channel source[i]."""
        return torch.arange(channels).view(self.groups, -1).t().flatten()


class Gate(nn.Module):
    """2 · hard-sigmoid, in [0, 2] and 1 at zero: scales the attended features in Mobile→Former. Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * F.hardsigmoid(x)


class Slopes(nn.Module):
    """2 · (hard-sigmoid - 0.5), in [-1, 1] and 0 at zero: a dynamic ReLU's deviations from ReLU. Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * (F.hardsigmoid(x) - 0.5)


def initialize(network: nn.Module) -> None:
    """Initialise every layer as the public release does: He for convolutions (fan-out), N(0, 0.01) for Linear."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
