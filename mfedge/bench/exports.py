"""The file that is measured for a variant in a runtime: exported the ordinary way, and kept by what it depends on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
from msgspec import Struct

from mfedge import cache, files, reading, resources
from mfedge.artifacts import manifest
from mfedge.artifacts.request import Request
from mfedge.bench.measure.environment import libraries
from mfedge.errors import ArtifactError, UsageError
from mfedge.extras import needing
from mfedge.families.spec import Spec, to_dict
from mfedge.families.table import check_kernels
from mfedge.formats.table import FORMATS
from mfedge.kernels import find as kernels_built
from mfedge.precisions import PRECISIONS
from mfedge.runtimes.table import RUNTIMES
from mfedge.sizes import Size
from mfedge.zoo import load_spec

NATIVE_SUFFIX = ".native.toml"  # of a spec that PyTorch runs as one native operator per block (mfedge/reference.py)


class Variant(Struct, frozen=True):
    """A model as the bench names it: "214m", "214m@native", "214m@fp16", "214m@native-fp16"."""

    name: str
    kernels: str = "portable"
    precision: str = "fp32"

    @property
    def suffix(self) -> str:
        """What stands after the variant's own name in a table: "-native-fp16", or nothing."""
        kernels = "" if self.kernels == "portable" else f"-{self.kernels}"
        return kernels + ("" if self.precision == "fp32" else f"-{self.precision}")


def parse(model: str) -> Variant | None:
    """A variant and its options; None for a path, which has none.

    Raises:
        UsageError: something else than kernels and a precision after the @ of a variant's name.
    """
    name, at, suffix = model.rpartition("@")
    if not at:
        return Variant(model)
    kernels, precision = "portable", "fp32"
    for word in suffix.split("-"):
        if word in kernels_built.KERNELS:
            kernels = word
        elif word in PRECISIONS:
            precision = word
        elif "/" in model or Path(model).exists():
            return None
        else:
            words = ", ".join((*kernels_built.KERNELS, *PRECISIONS))
            raise UsageError(
                f"{model}: expected {name}, or {name}@ and some of {words} with - between, found @{suffix}"
            )
    return Variant(name, kernels, precision)


def export(model: str, runtime: str) -> Path:
    """The variant as a file of the runtime, exported the ordinary way (random weights) and cached by content.

    Args:
        model: a variant as `parse` takes it.
        runtime: a name of the runtimes' table.

    Returns:
        The artifact folder, or the model file. PyTorch runs the network itself: its file is the variant's TOML.

    Raises:
        MissingRuntimeError: this installation has no exporter for that runtime, or no native kernels.
        UsageError, UnsupportedError: there are no native kernels for this network.
    """
    variant = parse(model)
    assert variant is not None, "a path is not exported"
    spec = load_spec(variant.name)
    place = cache.exports() / _content(spec)
    if not RUNTIMES[runtime].artifacts:
        if variant.kernels == "native":
            return _native_toml(spec, place)
        own = resources.is_file_name(variant.name)
        return Path(variant.name) if own else resources.folder("models") / f"{spec.name}.toml"
    row = next((row for row in FORMATS.values() if row.suffix == RUNTIMES[runtime].suffix), None)
    if row is None:
        raise UsageError(f"{model} for {runtime}: no format writes {RUNTIMES[runtime].suffix} files")
    size = None if spec.fixed_size is None else Size(*spec.fixed_size)
    request = Request.of(spec, (row.name,), size, precision=variant.precision, kernels=variant.kernels)
    done = place / request.name(row)
    if not _sound(done):
        with needing("export", f"{model} for {runtime}"):
            from mfedge.artifacts.export import export as write
        (done,) = write(request, place)
    cache.used(done)
    return done


def _sound(artifact: Path) -> bool:
    """Whether it is there and as it was exported; a damaged one is made again."""
    try:
        manifest.opened(artifact)
    except ArtifactError:
        return False
    return True


def _content(spec: Spec) -> str:
    """A name for everything an export depends on: the spec, every file of this package, the native kernels as they are
    built, the versions of what it uses."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted"))
    for file in sorted(package.rglob("*")):
        if file.is_file() and file.parent.name not in ("__pycache__", "lib"):
            digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    for name in kernels_built.NAMES:  # which MFEDGE_NATIVE_LIB may have elsewhere
        library = kernels_built.find(name)
        digest.update(name.encode() + (b"" if library is None else library.read_bytes()))
    digest.update(repr(sorted(libraries().items())).encode())
    return digest.hexdigest()[:20]


def _native_toml(spec: Spec, place: Path) -> Path:
    """What PyTorch runs with native kernels: the whole spec in a file whose name says so."""
    check_kernels(spec)
    built = reading.sha256(kernels_built.path("kernels"))
    lines = [f"# Native kernels of {built[:20]}.", *(f"{k} = {_toml(v)}" for k, v in to_dict(spec).items())]
    path = place / f"{spec.name}{NATIVE_SUFFIX}"
    files.write(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def _toml(value: object) -> str:
    """A value of a spec on one line of TOML. What is None is left out, as TOML has no word for it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
