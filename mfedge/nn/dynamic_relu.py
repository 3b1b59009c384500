"""Dynamic ReLU and its spatial-aware form (paper section 3.2 "Mobile sub-block" and equation 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfedge.families.mobile_former.spec import HYPER_REDUCTION as REDUCTION
from mfedge.nn.layers import Slopes
from mfedge.ops import dynamic_relu


class DynamicReLU(nn.Module):
    """y = max(a₁x, a₂x), slopes from the first token: a₁ in [0, 2], a₂ in [-1, 1]; 1 and 0, a plain ReLU, at zero.

    (B, C, H, W), (B, M, D) → (B, C, H, W).
    """

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.hyper = nn.Sequential(
            nn.Linear(token_dim, token_dim // REDUCTION),
            nn.ReLU(),
            nn.Linear(token_dim // REDUCTION, 2 * channels),
            Slopes(),
        )

    def forward(self, x: Tensor, tokens: Tensor, scores: Tensor | None = None) -> Tensor:
        del scores  # the first token speaks for all pixels
        slope1, slope2 = self.hyper(tokens[:, 0]).chunk(2, dim=1)  # (B, C) each
        return dynamic_relu(x, slope1 + 1, slope2)


class SpatialDynamicReLU(DynamicReLU):
    """Dynamic ReLU with slopes of every pixel's own (equation 3): θ_ij = Σ_m α_ijm f(z_m).

    α is the softmax over tokens of Mobile→Former's scores, averaged over heads and pooled to this map's size.
    """

    def forward(self, x: Tensor, tokens: Tensor, scores: Tensor | None = None) -> Tensor:
        assert scores is not None, "the block that owns this activation computes the scores"
        B, _, H, W = x.shape
        alpha = torch.softmax(F.adaptive_avg_pool2d(scores, (H, W)), dim=1)  # (B, M, H, W)
        slopes = self.hyper(tokens)  # (B, M, 2C), of all tokens
        theta = slopes.transpose(1, 2) @ alpha.flatten(2)  # (B, 2C, HW)
        slope1, slope2 = theta.reshape(B, -1, H, W).chunk(2, dim=1)
        return dynamic_relu(x, slope1 + 1, slope2.contiguous())


class PlainReLU(nn.Module):
    """ReLU6 with the signature of a dynamic ReLU (Table 4, the rows without dynamic ReLU)."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU6()

    def forward(self, x: Tensor, tokens: Tensor | None = None, scores: Tensor | None = None) -> Tensor:
        del tokens, scores
        return self.relu(x)
