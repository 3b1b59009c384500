"""Former: one post-norm transformer layer on M tokens (paper section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from mfedge.families.mobile_former.spec import FFN_RATIO
from mfedge.families.mobile_former.spec import FORMER_HEADS as HEADS
from mfedge.ops import former_attention


class FeedForward(nn.Module):
    """Z ← LN(Z + W_2 GELU(W_1 Z)), hidden width 2D. (B, M, D) → (B, M, D)."""

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(token_dim, FFN_RATIO * token_dim)
        self.act = nn.GELU()
        self.project = nn.Linear(FFN_RATIO * token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens + self.project(self.act(self.expand(tokens))))


class Former(nn.Module):
    """Z ← LN(Z + W_O attention(W_Q Z, Z, Z)), then the feed-forward layer unless Table 7 leaves it out.

    Keys and values carry no projection. (B, M, D) → (B, M, D).
    """

    def __init__(self, token_dim: int, ffn: bool = True) -> None:
        super().__init__()
        self.scale = (token_dim // HEADS) ** -0.5
        self.query = nn.Linear(token_dim, token_dim)
        self.project = nn.Linear(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)
        self.ffn = FeedForward(token_dim) if ffn else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        attended = former_attention(self.query(tokens), tokens, HEADS, self.scale)
        return self.ffn(self.norm(tokens + self.project(attended)))
