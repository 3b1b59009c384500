"""Names on the command line → TOML → frozen spec → network."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from mfedge import resources, text
from mfedge.errors import UsageError
from mfedge.families.spec import Spec
from mfedge.families.table import FAMILIES, family_named, family_of, imported

if TYPE_CHECKING:
    from torch import nn

SHOWN = 120  # characters of a wrong value in a message
SEED = 0  # of the random weights a network has until a checkpoint is loaded


def variants() -> list[str]:
    """Every variant that ships, in the families' order, smallest first."""
    families = list(FAMILIES)

    def order(name: str) -> tuple[int, int, str]:
        family = next((i for i, family in enumerate(families) if name.startswith(family)), len(families))
        size = re.search(r"(\d+)m$", name)
        return family, int(size[1]) if size else 0, name

    return sorted(resources.names("models"), key=order)


def load_spec(variant: str, overrides: Sequence[str] = ()) -> Spec:
    """The spec of a variant that ships ("214m", "mobile-former-214m") or of a TOML file ("./mine.toml").

    Args:
        variant: a name, or a path (anything with a "/" or that ends in ".toml").
        overrides: "field=value" as on the command line, value in TOML syntax or a bare word.

    Raises:
        UsageError: unknown variant; or a field, what was found and what is allowed.
    """
    path = find(variant)
    data = _read_with_base(path, [])
    for override in overrides:
        _override(data, override)
    data.setdefault("name", path.stem)
    try:
        family = family_named(data.get("family"))
        spec: Spec = msgspec.convert(data, family.spec)
        spec.check()
    except msgspec.ValidationError as error:
        raise UsageError(f"variant {variant}: {' '.join(_explain(error, data, family.spec).split())}") from None
    except (ValueError, UsageError) as error:
        raise UsageError(f"variant {variant}: {error}") from None
    return spec


def is_shipped(spec: Spec) -> bool:
    """Whether a spec is, field by field, one that ships under its name."""
    return spec.name in resources.names("models") and load_spec(spec.name) == spec


def build(spec: Spec, num_classes: int = 1000, seed: int = SEED) -> nn.Module:
    """The network of a spec in eval mode, float32, randomly initialised from `seed` alone.

    PyTorch's global random state is left as it was.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = imported(family_of(spec).network)(spec, num_classes)
    assert isinstance(network, nn.Module)
    return network.eval()


def random_weights(network: nn.Module, seed: int = SEED) -> nn.Module:
    """Fill a network with random weights at which every path carries signal; returns it.

    What commands use in place of a checkpoint. The initialisation for training (Linear layers of
    deviation 0.01) leaves the attentions uniform and the gates at one: a file with a broken bridge
    would still seem to agree with it.
    """
    import torch
    from torch import Tensor, nn

    spec = getattr(network, "spec", None)  # a part of a network has none
    conv_gain = family_of(spec).conv_gain if isinstance(spec, Spec) else 1.0
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                gain = conv_gain if isinstance(module, nn.Conv2d) else 1.0
                module.weight.normal_(0, gain * fan_in**-0.5, generator=generator)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.75, 1.25, generator=generator)
                module.weight.uniform_(0.75, 1.25, generator=generator)
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                bias.normal_(0, 0.1, generator=generator)
    return network


def find(variant: str) -> Path:
    """The TOML file of a variant.

    Raises:
        UsageError: there is none.
    """
    if resources.is_file_name(variant):
        path = Path(variant)
        if not os.path.isfile(path):  # False too of a name that no file can have
            raise UsageError(f"variant {variant}: no such file; a variant is a name or a TOML file's path")
        return path
    shipped = resources.names("models")
    for name in (variant, *(f"{family}-{variant}" for family in FAMILIES)):
        if name in shipped:
            return resources.folder("models") / f"{name}.toml"
    raise UsageError(f"variant {variant}: unknown; expected one of {', '.join(variants())}, or ./FILE.toml")


def _read_with_base(path: Path, seen: list[Path]) -> dict[str, Any]:
    """The file's fields over those of the variant its `base` names."""
    if path.resolve() in seen:
        raise UsageError(f"{path}: base: the file is its own base, by way of {len(seen)} files")
    data = resources.read_toml(path)
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise UsageError(f"{path}: base: expected a variant's name or path, found {base!r}")
    return {**_read_with_base(find(base), [*seen, path.resolve()]), **data}


def _override(data: dict[str, Any], override: str) -> None:
    """Apply one "field=value" or "head.hidden=64" to the TOML data."""
    field, equals, word = override.partition("=")
    field = field.strip()
    if not equals or not field:
        raise UsageError(f"--set {override}: expected FIELD=VALUE, for instance --set tokens=3")
    try:
        value = resources.parse_toml(f"value = {word}")["value"]
    except (ValueError, KeyError):
        value = word.strip()  # a bare word: activation=relu
    *parents, last = field.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {override}: {parent} is not a table")
    data[last] = value


def _explain(error: msgspec.ValidationError, data: Any, spec: type[Spec]) -> str:
    """ "tokens: expected `int` >= 1, found 0" from msgspec's message and the data it is about."""
    message, _, where = str(error).partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `(\w+)`", message)
    if unknown:
        fields = ", ".join(_fields(spec, path, data))
        return f"{path + '.' if path else ''}{unknown[1]}: no such field; expected one of {fields}"
    message = message[0].lower() + message[1:]
    if path and "missing required field" not in message:
        for step in re.findall(r"\w+", path):
            data = data[int(step)] if isinstance(data, list) else data.get(step)
        found = re.sub(r", got `.*", "", message)
        return f"{path}: {found}, found {text.line(repr(data), SHOWN)}"
    return f"{path}: {message}" if path else message


def _fields(spec: type[Struct], path: str, data: Any) -> list[str]:
    """The fields that the table at "blocks[3]" may have, for the message about one that it may not."""
    kinds: list[type[Struct]] = [spec]
    for step in re.findall(r"\w+", path):
        data = data[int(step)] if isinstance(data, list) else data.get(step)
        if not step.isdigit():
            kinds = [
                kind
                for struct in kinds
                for field in msgspec.structs.fields(struct)
                if field.name == step
                for kind in _structs(field.type)
            ]
        if isinstance(data, dict) and len(kinds) > 1:  # a union is told apart by its tag
            kinds = [kind for kind in kinds if kind.__struct_config__.tag == data.get(kind.__struct_config__.tag_field)]
    return [name for kind in kinds for name in kind.__struct_fields__]


def _structs(annotation: Any) -> list[type[Struct]]:
    """The structs inside a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple) or hasattr(annotation, "__metadata__"):
        return [struct for argument in get_args(annotation) for struct in _structs(argument)]
    return []
