"""The classifier of Mobile-Former (paper section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mfedge.families.mobile_former.spec import MobileFormerSpec
from mfedge.nn.layers import ChannelShuffle, ConvNorm


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
