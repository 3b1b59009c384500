"""Names on the command line → TOML → frozen spec → network."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mfedge.errors import UsageError
from mfedge.resources import folder
from mfedge.spec import MobileFormerSpec, Spec

if TYPE_CHECKING:
    from torch import nn

SEED = 0  # of the random weights a network has until a checkpoint is loaded
# MobileNetV3's hard-swishes and squeeze-excites damp the signal: without a gain the logits of two images differ
# by 3e-4 of their magnitude, and a parity bound of 1e-4 would prove nothing. With it they differ by 3 to 20 %.
MOBILENET_GAIN = 1.35
MAX_SPEC_BYTES = 1 << 20


def variants() -> list[str]:
    """Every variant that ships, Mobile-Former first, smallest first."""

    def order(name: str) -> tuple[bool, int, str]:
        size = re.search(r"(\d+)m$", name)
        return not name.startswith("mobile-former"), int(size[1]) if size else 0, name

    return sorted((path.stem for path in folder("models").glob("*.toml")), key=order)


def load_spec(variant: str, overrides: Sequence[str] = ()) -> Spec:
    """The spec of a variant that ships ("214m", "mobile-former-214m") or of a TOML file ("./mine.toml").

    Args:
        variant: a name, or a path (anything with a "/" or that ends in ".toml").
        overrides: "field=value" as on the command line, value in TOML syntax or a bare word.

    Raises:
        UsageError: unknown variant; or a field, what was found and what is allowed.
    """
    path = _find(variant)
    data = _read_with_base(path, [])
    for override in overrides:
        _override(data, override)
    data.setdefault("name", path.stem)
    try:
        spec: Spec = msgspec.convert(data, Spec)
        spec.check()
    except msgspec.ValidationError as error:
        raise UsageError(f"variant {variant}: {' '.join(_explain(error, data).split())}") from None
    except ValueError as error:
        raise UsageError(f"variant {variant}: {error}") from None
    return spec


def build(spec: Spec, num_classes: int = 1000, seed: int = SEED) -> nn.Module:
    """The network of a spec in eval mode, float32, randomly initialised from `seed` alone.

    PyTorch's global random state is left as it was.
    """
    import torch

    from mfedge.nn import MobileFormer, MobileNetV3

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(spec, MobileFormerSpec):
            return MobileFormer(spec, num_classes).eval()
        return MobileNetV3(spec, num_classes).eval()


def random_weights(network: nn.Module, seed: int = SEED) -> nn.Module:
    """Fill a network with random weights at which every path carries signal; returns it.

    What commands use in place of a checkpoint. The initialisation for training (Linear layers of
    deviation 0.01) leaves the attentions uniform and the gates at one: a file with a broken bridge
    would still seem to agree with it.
    """
    import torch
    from torch import Tensor, nn

    from mfedge.nn import MobileNetV3

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                gain = MOBILENET_GAIN if isinstance(network, MobileNetV3) and isinstance(module, nn.Conv2d) else 1.0
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


def _find(variant: str) -> Path:
    if "/" in variant or variant.endswith(".toml"):
        path = Path(variant)
        if not path.is_file():
            raise UsageError(f"variant {variant}: no such file; a variant is a name or a TOML file's path")
        return path
    for name in (variant, f"mobile-former-{variant}"):
        path = folder("models") / f"{name}.toml"
        if path.is_file():
            return path
    raise UsageError(f"variant {variant}: unknown; expected one of {', '.join(variants())}, or ./FILE.toml")


def _read_with_base(path: Path, seen: list[Path]) -> dict[str, Any]:
    """The file's fields over those of the variant its `base` names."""
    if path.resolve() in seen:
        raise UsageError(f"{path}: base: the file is its own base, by way of {len(seen)} files")
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise UsageError(f"{path}: expected a spec of at most {MAX_SPEC_BYTES} bytes, found {path.stat().st_size}")
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise UsageError(f"{path}: base: expected a variant's name or path, found {base!r}")
    return {**_read_with_base(_find(base), [*seen, path.resolve()]), **data}


def _override(data: dict[str, Any], override: str) -> None:
    """Apply one "field=value" or "head.hidden=64" to the TOML data."""
    field, equals, text = override.partition("=")
    field = field.strip()
    if not equals or not field:
        raise UsageError(f"--set {override}: expected FIELD=VALUE, for instance --set tokens=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError, RecursionError):
        value = text.strip()  # a bare word: activation=relu
    *parents, last = field.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {override}: {parent} is not a table")
    data[last] = value


def _explain(error: msgspec.ValidationError, data: Any) -> str:
    """ "tokens: expected `int` >= 1, found 0" from msgspec's message and the data it is about."""
    message, _, where = str(error).partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `(\w+)`", message)
    if unknown:
        return f"{path + '.' if path else ''}{unknown[1]}: no such field; {_allowed_fields(path, data)}"
    message = message[0].lower() + message[1:]
    if path and "missing required field" not in message:
        for step in re.findall(r"\w+", path):
            data = data[int(step)] if isinstance(data, list) else data.get(step)
        found = re.sub(r", got `.*", "", message)
        return f"{path}: {found}, found {data!r}"
    return f"{path}: {message}" if path else message


def _allowed_fields(path: str, data: dict[str, Any]) -> str:
    """The fields a table may have, for the message about one it may not."""
    from mfedge import spec

    if path.startswith("blocks"):
        if data.get("family") == "mobilenet-v3":
            kinds: tuple[type[msgspec.Struct], ...] = (spec.Bneck,)
        else:
            index = int(re.findall(r"\d+", path)[0])
            kind = data["blocks"][index].get("kind")
            kinds = tuple(k for k in (spec.Lite, spec.MF, spec.MFDown) if k.__struct_config__.tag == kind)
    elif path in ("head", "paper"):
        kinds = (spec.Head if path == "head" else spec.Paper,)
    elif data.get("family") == "mobilenet-v3":
        kinds = (spec.MobileNetV3Spec,)
    else:
        kinds = (spec.MobileFormerSpec,)
    return "expected one of " + ", ".join(field for kind in kinds for field in kind.__struct_fields__)
