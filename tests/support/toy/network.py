"""The family's network."""

from __future__ import annotations

from torch import Tensor, nn

from mfedge.nn.layers import ConvNorm
from tests.support.toy import ToySpec


class Toy(nn.Module):
    """(B, 3, H, W) → (B, classes)."""

    def __init__(self, spec: ToySpec, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(3, spec.channels, kernel=3, stride=2)
        self.classifier = nn.Linear(spec.channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.stem(images).relu().mean(dim=(2, 3)))
