"""The two-way bridge: light-weight cross-attention between Mobile and Former (paper section 3.1, equations 1 and 2)."""

from __future__ import annotations

from torch import Tensor, nn

from mfedge.families.mobile_former.spec import BRIDGE_HEADS as HEADS
from mfedge.nn.layers import Gate
from mfedge.ops import former_to_mobile, mobile_to_former


class MobileToFormer(nn.Module):
    """Tokens gather from all pixels: Z ← LN(Z + W_O(g · attention(W_Q Z, X, X))) (equation 1).

    The gate g = 2 · hard-sigmoid(W_g Z) is not in the paper's text; the parameter counts of all
    seven variants need it, and the public release has it.

    (B, C, H, W), (B, M, D) → (B, M, D).
    """

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.scale = (channels // HEADS) ** -0.5
        self.query = nn.Linear(token_dim, channels)
        self.gate = nn.Sequential(nn.Linear(token_dim, channels), Gate())
        self.project = nn.Linear(channels, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        attended = mobile_to_former(x, self.query(tokens), HEADS, self.scale)  # (B, M, C)
        return self.norm(tokens + self.project(self.gate(tokens) * attended))


class ScoringMobileToFormer(MobileToFormer):
    """Mobile→Former that also hands out its scores, for the spatial-aware dynamic ReLU (equation 3).

    (B, C, H, W), (B, M, D) → (B, M, D) and the scores before the softmax, averaged over heads, (B, M, H, W).
    """

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # one more output
        B, C, H, W = x.shape
        pixels = x.reshape(B, HEADS, C // HEADS, H * W)  # (B, N, C/N, HW)
        query = self.query(tokens).unflatten(2, (HEADS, C // HEADS)).transpose(1, 2)  # (B, N, M, C/N)
        scores = self.scale * (query @ pixels)  # (B, N, M, HW)
        attended = scores.softmax(dim=-1) @ pixels.transpose(2, 3)  # (B, N, M, C/N)
        attended = attended.transpose(1, 2).flatten(2)  # (B, M, C)
        tokens = self.norm(tokens + self.project(self.gate(tokens) * attended))
        return tokens, scores.mean(dim=1).unflatten(2, (H, W))


class FormerToMobile(nn.Module):
    """Pixels gather from the tokens: X ← X + attention(X, W_K Z, W_V Z) (equation 2).

    (B, C, H, W), (B, M, D) → (B, C, H, W).
    """

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.scale = (channels // HEADS) ** -0.5
        self.key = nn.Linear(token_dim, channels)
        self.value = nn.Linear(token_dim, channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        return former_to_mobile(x, self.key(tokens), self.value(tokens), HEADS, self.scale)
