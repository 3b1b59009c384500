"""A Mobile-Former as data: one row of the paper's Table 11 and the switches of its ablations."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mfedge.errors import UnsupportedError
from mfedge.families.spec import Channels, Kernel, Paper, Spec, Stride
from mfedge.kernels.layout import MAX_TOKENS

BRIDGE_HEADS, FORMER_HEADS = 2, 4
FFN_RATIO = 2  # hidden width of Former's feed-forward layer, in token widths
HYPER_REDUCTION = 4  # width of a hyper-function's hidden layer: D / 4
MIXING_RATIO = 4  # hidden width of a position-mixing MLP, in tokens


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


class MobileFormerSpec(Spec, frozen=True, forbid_unknown_fields=True, tag_field="family", tag="mobile-former"):
    """One row of the paper's Table 11, and the switches of its ablations (Tables 4, 5, 6, 7, 14)."""

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

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """A position-mixing MLP has a weight per pixel."""
        fixed = self.mixing == "position-mlp" and not self.mobile_only
        return (self.image_size, self.image_size) if fixed else None

    def check(self) -> None:
        """See `Spec.check`."""
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


def check_kernels(spec: MobileFormerSpec) -> None:
    """Refuse what the native kernels have no code for.

    Raises:
        UnsupportedError: naming the field.
    """
    allowed: dict[str, tuple[object, ...]] = {
        "mobile_only": (False,),
        "mixing": ("attention",),
        "activation": ("dynamic-relu", "relu"),
        "kernel": (3,),
    }
    for field, values in allowed.items():
        found = getattr(spec, field)
        if found not in values:
            raise _unsupported(field, " or ".join(map(_toml, values)), _toml(found))
    if spec.tokens > MAX_TOKENS:
        raise _unsupported("tokens", f"at most {MAX_TOKENS}", str(spec.tokens))
    for i, block in enumerate(spec.blocks):
        if isinstance(block, Lite) != (i == 0):
            wanted = '"bneck-lite" first and none after it'
            raise _unsupported(f"blocks[{i}].kind", wanted, f'"{block.__struct_config__.tag}"')


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _unsupported(field: str, expected: str, found: str) -> UnsupportedError:
    return UnsupportedError(f"{field}: the native kernels expect {expected}, found {found}", about="kernels")
