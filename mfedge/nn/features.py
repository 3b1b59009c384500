"""What every backbone answers: the maps of all its stages, and its tokens if it has any."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """What a backbone makes of a batch of images."""

    maps: tuple[Tensor, ...]  # the last map of every resolution, (B, C, H/2, W/2), (B, C', H/4, W/4), …
    tokens: Tensor | None  # (B, M, D) after the last block; None without tokens
