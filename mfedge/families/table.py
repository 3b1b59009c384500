"""One row per family of networks. Everything else that depends on the family asks its row."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from mfedge.errors import UsageError
from mfedge.families.costs import PartCount
from mfedge.families.mobile_former import costs as mobile_former_costs
from mfedge.families.mobile_former import spec as mobile_former
from mfedge.families.mobile_former.public_names import from_public_names
from mfedge.families.mobilenet_v3 import MobileNetV3Spec
from mfedge.families.mobilenet_v3 import parts as mobilenet_v3_parts
from mfedge.families.spec import Spec


class Family(Struct, frozen=True):
    """What mfedge has to know of a family. Functions take the family's own spec."""

    label: str  # as its authors write it
    spec: type[Spec]  # its tag is the `family` of a TOML file
    network: str  # "module:class" of the network, (spec, num_classes) → Module; imported when one is built
    parts: Callable[[Any, int, int, int], Iterable[PartCount]]  # (spec, height, width, classes) → rows with their costs
    task: str = "classify"  # what its outputs mean: a row of mfedge.tasks.table
    conv_gain: float = 1.0  # of the random weights that commands use without a checkpoint
    from_public_names: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None  # (spec, state) → our names
    fuse: str | None = None  # "module:function" that makes whole blocks native operators; None: no native kernels
    check_kernels: Callable[[Any], None] | None = None  # raises UnsupportedError for a spec that `fuse` does not take
    crossover: int | None = None  # pixels a side from which the paper finds it faster than `reference`
    reference: bool = False  # whether others are measured against it
    scopes: tuple[tuple[str, str], ...] = ()  # (pattern of an operator's name, its part), the first that matches counts
    order: tuple[str, ...] = ()  # of the parts in a table, as the paper names them

    @property
    def name(self) -> str:
        """The `family` of a TOML file."""
        return str(self.spec.__struct_config__.tag)


FAMILIES: dict[str, Family] = {}


def add(family: Family) -> None:
    """Add a row.

    Raises:
        ValueError: there is one of that name.
    """
    if family.name in FAMILIES:
        raise ValueError(f"family {family.name}: there is one already")
    FAMILIES[family.name] = family


def family_of(spec: Spec) -> Family:
    """The row of a spec."""
    return FAMILIES[str(spec.__struct_config__.tag)]


def family_named(name: object) -> Family:
    """The row of a TOML file's `family`.

    Raises:
        UsageError: there is none of that name.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        found = "nothing" if name is None else repr(name)
        raise UsageError(f"family: expected one of {', '.join(FAMILIES)}, found {found}")
    return FAMILIES[name]


def family_of_model(name: str) -> Family | None:
    """The family that a measured model's name begins with: "mobile-former-214m-native"; None for another's file."""
    return next((family for family in FAMILIES.values() if name.lower().startswith(family.name)), None)


def check_kernels(spec: Spec) -> None:
    """Refuse a network that the native kernels do not compute.

    Raises:
        UsageError: no network of this family is computed by them.
        UnsupportedError: a field of the spec that they have no code for; it is named.
    """
    family = family_of(spec)
    if family.check_kernels is None:
        served = " and ".join(f"{other.label}s" for other in FAMILIES.values() if other.check_kernels is not None)
        raise UsageError(f"there are no native kernels for {spec.name}, only for {served}", about="kernels")
    family.check_kernels(spec)


def imported(place: str) -> Any:
    """What a row's "module:name" stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


add(
    Family(
        label="Mobile-Former",
        spec=mobile_former.MobileFormerSpec,
        network="mfedge.nn.mobile_former:MobileFormer",
        parts=mobile_former_costs.parts,
        from_public_names=from_public_names,
        fuse="mfedge.deploy.fuse_blocks:fuse_blocks",
        check_kernels=mobile_former.check_kernels,
        crossover=750,  # figure 5: Mobile-Former-214M against MobileNetV3-Large 1.0, one thread
        order=("stem", "Mobile", "Mobile→Former", "Former", "Mobile←Former", "dynamic ReLU", "block (fused)", "head"),
        scopes=(
            (r"\bblocks[./]\d+/Block(_\d+)?(:\d)?$", "block (fused)"),
            (r"dynamic_relu|act[12]?[./]hyper|\bhyper\b", "dynamic ReLU"),
            (r"mobile_to_former", "Mobile→Former"),
            (r"former_to_mobile", "Mobile←Former"),
            (r"\bclassifier\b|\bhead\b", "head"),
            (r"\bstem\b", "stem"),
            (r"\bmobile[./]act[12]\b", "dynamic ReLU"),
            (r"\bformer\b", "Former"),
            (r"\bmobile\b|\bblocks\b", "Mobile"),
        ),
    )
)
add(
    Family(
        label="MobileNetV3",
        spec=MobileNetV3Spec,
        network="mfedge.nn.mobilenet_v3:MobileNetV3",
        parts=mobilenet_v3_parts,
        # Its hard-swishes and squeeze-excites damp the signal: without a gain the logits of two images differ by 3e-4
        # of their magnitude, and a parity bound of 1e-4 would prove nothing. With it they differ by 3 to 20 %.
        conv_gain=1.35,
        reference=True,
        scopes=((r"\bclassifier\b", "head"), (r"\bfeatures[./]0\b", "stem"), (r"\bfeatures\b", "Mobile")),
    )
)
