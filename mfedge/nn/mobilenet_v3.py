"""Searching for MobileNetV3 (Howard et al., ICCV 2019, arXiv 1905.02244), which Mobile-Former is measured against.

Parameter names are torchvision's, so that its published checkpoints load; torchvision is no dependency.
"""

from __future__ import annotations

from torch import Tensor, nn

from mfedge.families.mobilenet_v3 import HEAD_RATIO, Bneck, MobileNetV3Spec, make_divisible
from mfedge.nn.features import Features


class ConvNormAct(nn.Sequential):
    """Convolution (`0`), BatchNorm (`1`) and, unless `act` is None, an activation (`2`)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, act: type[nn.Module] | None
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels, eps=0.001, momentum=0.01),
        ]
        super().__init__(*layers, *([] if act is None else [act()]))


class SqueezeExcite(nn.Module):
    """x · hard-sigmoid(W_2 ReLU(W_1 mean over pixels)). (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = make_divisible(channels / 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(scale))))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excite, project (Figure 4). (B, C, H, W) → (B, out, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(self, in_channels: int, row: Bneck, width: float) -> None:
        super().__init__()
        expanded, out_channels = make_divisible(row.expand * width), make_divisible(row.out * width)
        act: type[nn.Module] = nn.Hardswish if row.activation == "hard-swish" else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(ConvNormAct(in_channels, expanded, 1, 1, 1, act))
        layers.append(ConvNormAct(expanded, expanded, row.kernel, row.stride, expanded, act))
        if row.squeeze_excite:
            layers.append(SqueezeExcite(expanded))
        layers.append(ConvNormAct(expanded, out_channels, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)
        self.skip = row.stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.skip else self.block(x)


class Stages(nn.Sequential):
    """Layers in a row, (B, 3, H, W) → the last map of every resolution, from half the image's down."""

    def __init__(self, layers: list[nn.Module], strides: list[int]) -> None:
        super().__init__(*layers)
        self.strides = strides  # of each layer: a new resolution begins where it is 2

    def forward(self, images: Tensor) -> Features:
        x, maps = images, list[Tensor]()
        for layer, stride in zip(self, self.strides, strict=True):
            x = layer(x)
            if stride == 2:
                maps.append(x)
            else:
                maps[-1] = x
        return Features(tuple(maps), None)


class MobileNetV3(nn.Module):
    """(B, 3, H, W) normalised RGB → (B, classes) logits; H and W from 32 up."""

    def __init__(self, spec: MobileNetV3Spec, num_classes: int = 1000) -> None:
        super().__init__()
        self.spec = spec
        channels = make_divisible(spec.stem * spec.width)
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, 1, nn.Hardswish)]
        for row in spec.blocks:
            layers.append(InvertedResidual(channels, row, spec.width))
            channels = make_divisible(row.out * spec.width)
        layers.append(ConvNormAct(channels, HEAD_RATIO * channels, 1, 1, 1, nn.Hardswish))
        self.features = Stages(layers, [2, *(row.stride for row in spec.blocks), 1])
        # Not scaled by the width: it makes 3.9 and 7.5 million parameters at 0.75 and 1.25; the paper has 4.0 and 7.5.
        hidden = nn.Linear(HEAD_RATIO * channels, spec.hidden)
        self.classifier = nn.Sequential(hidden, nn.Hardswish(), nn.Dropout(0.2), nn.Linear(spec.hidden, num_classes))
        self._initialize()

    def _initialize(self) -> None:
        """Initialise as torchvision does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).maps[-1].mean(dim=(2, 3)))
