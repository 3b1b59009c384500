"""Position-mixing MLPs in place of attention (paper Table 7): they fix the input size, and have no gate."""

from __future__ import annotations

from torch import Tensor, nn

from mfedge.families.mobile_former.spec import MIXING_RATIO
from mfedge.nn.former import FeedForward


class MixMobileToFormer(nn.Module):
    """Z ← LN(Z + W_C(W_HW X)ᵀ): pixels mixed into M tokens. (B, C, H, W), (B, M, D) → (B, M, D)."""

    def __init__(self, channels: int, token_dim: int, tokens: int, pixels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(pixels, tokens)
        self.project = nn.Linear(channels, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        mixed = self.mix(x.flatten(2)).transpose(1, 2)  # (B, C, HW) → (B, C, M) → (B, M, C)
        return self.norm(tokens + self.project(mixed))


class MixFormer(nn.Module):
    """Z ← LN(Z + W_D MLP over the token axis), then the feed-forward layer. (B, M, D) → (B, M, D)."""

    def __init__(self, token_dim: int, tokens: int, ffn: bool = True) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Linear(tokens, MIXING_RATIO * tokens), nn.GELU(), nn.Linear(MIXING_RATIO * tokens, tokens)
        )
        self.project = nn.Linear(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)
        self.ffn = FeedForward(token_dim) if ffn else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.mix(tokens.transpose(1, 2)).transpose(1, 2)  # over M
        return self.ffn(self.norm(tokens + self.project(mixed)))


class MixFormerToMobile(nn.Module):
    """X ← X + W_HW(W_V Z): tokens mixed out to the pixels. (B, C, H, W), (B, M, D) → (B, C, H, W)."""

    def __init__(self, channels: int, token_dim: int, tokens: int, pixels: int) -> None:
        super().__init__()
        self.value = nn.Linear(token_dim, channels)
        self.mix = nn.Linear(tokens, pixels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        value = self.value(tokens).transpose(1, 2)  # (B, C, M)
        return x + self.mix(value).reshape(x.shape)
