"""What a variant is: frozen, validated specs of both network families, read from models/*.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Channels = Annotated[int, Meta(ge=1, le=8192)]
Stride = Annotated[int, Meta(ge=1, le=2)]
Kernel = Literal[1, 3, 5, 7]
# An artifact's folder is named after it: no path, nothing hidden, nothing unprintable.
Name = Annotated[str, Meta(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,99}\Z")]


class Paper(Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's figures for this variant at 224×224, printed beside ours and used for nothing else."""

    params_millions: float | None = None
    madds_millions: float | None = None
    top1: float | None = None


class Lite(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="bneck-lite"):
    """A lite bottleneck (Table 11): expanding depthwise, pointwise."""

    expand: Channels
    out: Channels
    stride: Stride = 1


class MF(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mobile-former"):
    """A Mobile-Former block of stride 1 (Table 11, "M-F")."""

    expand: Channels
    out: Channels


class MFDown(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mobile-former-down"):
    """A downsampling Mobile-Former block (Table 11, "M-F↓"); `expand2` is the second expansion, 4 · out there."""

    expand: Channels
    out: Channels
    expand2: Channels


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The classifier: width of its pointwise convolution, width of its hidden layer, dropout in training."""

    channels: Channels
    hidden: Channels
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class MobileFormerSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="family", tag="mobile-former"):
    """One row of the paper's Table 11, and the switches of its ablations (Tables 4, 5, 6, 7, 14)."""

    name: Name
    tokens: Annotated[int, Meta(ge=1, le=64)]  # Table 5
    token_dim: Annotated[int, Meta(ge=4, le=2048)]  # Table 6
    stem: Channels
    blocks: Annotated[tuple[Lite | MF | MFDown, ...], Meta(min_length=1, max_length=64)]
    head: Head
    groups: Annotated[int, Meta(ge=1, le=64)] = 1  # of every pointwise convolution (26M: 4)
    activation: Literal["dynamic-relu", "spatial-dynamic-relu", "relu"] = "dynamic-relu"  # Table 4; equation 3
    mobile_only: bool = False  # Table 4: no tokens, no bridge, no Former
    former_ffn: bool = True  # Table 7
    mixing: Literal["attention", "position-mlp"] = "attention"  # Table 7
    kernel: Kernel = 3  # Table 14: of every depthwise convolution
    image_size: Annotated[int, Meta(ge=32, le=4096)] = 224  # the only size a position-mixing MLP takes
    paper: Paper = Paper()

    def check(self) -> None:
        """Raise ValueError, "field: expected …, found …", for what one field alone cannot tell."""
        if self.token_dim % 4:
            raise ValueError(f"token_dim: expected a multiple of 4 (Former has 4 heads), found {self.token_dim}")
        if self.activation != "relu" and self.mobile_only:
            raise ValueError(
                f'activation: expected "relu" with mobile_only = true (a dynamic ReLU reads a token), '
                f'found "{self.activation}"'
            )
        if self.activation == "spatial-dynamic-relu" and self.mixing != "attention":
            raise ValueError(
                'mixing: expected "attention" with activation = "spatial-dynamic-relu", found "position-mlp"'
            )
        channels, bridged = self.stem, False
        for i, block in enumerate(self.blocks):
            if not isinstance(block, Lite):
                bridged = True
                if channels % 2 or block.out % 2:
                    raise ValueError(
                        f"blocks[{i}].out: expected even widths (the bridge has 2 heads), found {channels}→{block.out}"
                    )
            widths = {"expand": block.expand, "out": block.out}
            if isinstance(block, MFDown):
                widths["expand2"] = block.expand2
            depthwise = {"expand": channels, "expand2": block.out}
            for field, width in widths.items():
                if width % self.groups:
                    raise ValueError(f"blocks[{i}].{field}: expected a multiple of groups={self.groups}, found {width}")
                expands = field in depthwise and not isinstance(block, MF)
                if expands and width % depthwise[field]:
                    raise ValueError(
                        f"blocks[{i}].{field}: expected a multiple of the {depthwise[field]} channels that its "
                        f"depthwise convolution expands, found {width}"
                    )
            if channels % self.groups:
                raise ValueError(f"stem: expected a multiple of groups={self.groups}, found {channels}")
            channels = block.out
        if not bridged and not self.mobile_only:
            raise ValueError('blocks: expected at least one of kind "mobile-former", found only "bneck-lite"')
        if self.head.channels % self.groups:
            raise ValueError(f"head.channels: expected a multiple of groups={self.groups}, found {self.head.channels}")


class Bneck(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of MobileNetV3's Tables 1 and 2, at width 1.0."""

    kernel: Kernel
    expand: Channels
    out: Channels
    squeeze_excite: bool
    activation: Literal["relu", "hard-swish"]
    stride: Stride


class MobileNetV3Spec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="family", tag="mobilenet-v3"):
    """MobileNetV3 (Howard et al., 2019): Table 1 (large) or 2 (small), times a width."""

    name: Name
    stem: Channels
    blocks: Annotated[tuple[Bneck, ...], Meta(min_length=1, max_length=64)]
    hidden: Channels
    width: Annotated[float, Meta(gt=0, le=4)] = 1.0
    paper: Paper = Paper()

    def check(self) -> None:
        """Nothing beyond the fields' own ranges."""


Spec = MobileFormerSpec | MobileNetV3Spec


def to_dict(spec: Spec) -> dict[str, object]:
    """Plain data, as in the TOML file; msgspec.convert() makes the spec again."""
    data = msgspec.to_builtins(spec)
    assert isinstance(data, dict)
    return data
