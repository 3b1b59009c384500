"""Which file is measured for a model × runtime × size: the only place where the bench meets the exporter.

A model on the command line is a variant ("214m"), one with native kernels ("214m@native", or "214m@native-fp16" whose
token and classifier weights take half the bytes), an artifact folder, or a bare .onnx, .xml or .tflite file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from mfedge.errors import MissingRuntimeError, UsageError
from mfedge.sizes import Size

if TYPE_CHECKING:
    from mfedge.spec import Spec

SUFFIXES = {  # of what a runtime loads, preferred first
    "torch": (".toml",),
    "onnxruntime": (".onnx",),
    "openvino": (".xml",),
    "litert": (".tflite",),
    "tflite-runtime": (".tflite",),
}
FORMATS = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "tflite", "tflite-runtime": "tflite"}
DEFAULT_RUNTIMES = ("torch", "onnxruntime", "openvino", "litert")
MODEL_SUFFIXES = (".onnx", ".xml", ".tflite")
KERNELS = {"native": ("native", "fp32"), "native-fp16": ("native", "fp16")}  # behind a variant's @: kernels, precision
NORMALISED = {".onnx": b"BatchNormalization", ".xml": b'type="BatchNormInference"'}

Exporter = Callable[[str, str], Path]


class Case(Struct, frozen=True):
    """One cell of the measurement. `path` stays on this machine; only the file's name travels with the result."""

    model: str
    runtime: str
    size: Size
    path: str
    sha256: str
    bytes: int
    batch_norms: int | None = None

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.model} in {self.runtime} at {self.size}"


def export(model: str, runtime: str) -> Path:
    """The variant as a file of the runtime, exported the ordinary way (random weights) and cached by content.

    Args:
        model: a variant as `--variant` takes it, "@" and one of KERNELS behind it for native kernels.
        runtime: one of SUFFIXES.

    Returns:
        The artifact folder, or the model file. PyTorch runs the network itself: its file is the variant's TOML.

    Raises:
        MissingRuntimeError: this installation has no exporter for that runtime, or no native kernels.
        UsageError, UnsupportedError: there are no native kernels for this network.
    """
    from mfedge.resources import folder
    from mfedge.zoo import load_spec

    variant, kernels, precision = split_kernels(model)
    spec = load_spec(variant)
    cache = cache_folder() / _content(spec)
    if runtime == "torch":
        if kernels == "native":
            return _native_toml(spec, cache)
        return Path(variant) if variant.endswith(".toml") else folder("models") / f"{spec.name}.toml"
    from mfedge.artifacts.export import Request, artifact_name
    from mfedge.artifacts.export import export as write

    format_name = FORMATS[runtime]
    fixed = getattr(spec, "mixing", "") == "position-mlp"
    side = getattr(spec, "image_size", None) if fixed else None
    size = None if side is None else (side, side)
    request = Request(spec, (format_name,), size, precision=precision, kernels=kernels)
    done = cache / artifact_name(request, format_name)
    if (done / "manifest.json").is_file():
        return done
    try:
        return write(request, cache)[0]
    except ModuleNotFoundError as error:
        raise MissingRuntimeError(f"{model} for {runtime}: {error}; install it or leave it out of --runtimes") from None


def split_kernels(model: str) -> tuple[str, str, str]:
    """("214m", "native", "fp16") of "214m@native-fp16"; ("214m", "portable", "fp32") of "214m".

    Raises:
        UsageError: something else behind the @ of a variant's name.
    """
    name, at, suffix = model.rpartition("@")
    if suffix in KERNELS and at:
        return name, *KERNELS[suffix]
    if at and "/" not in model and not Path(model).exists():
        raise UsageError(f"{model}: expected {name} or {name}@ and one of {', '.join(KERNELS)}, found @{suffix}")
    return model, "portable", "fp32"


def _native_toml(spec: Spec, cache: Path) -> Path:
    """What PyTorch runs with native kernels: the whole spec in a file whose name says so (runtimes/torch_eager.py)."""
    from mfedge import files as store
    from mfedge.deploy.fuse_blocks import check_native
    from mfedge.kernels import find as native
    from mfedge.reference import NATIVE_SUFFIX
    from mfedge.spec import to_dict

    check_native(spec)
    built = checksum(native.path("kernels"))[0]
    lines = [f"# Native kernels of {built[:20]}.", *(f"{k} = {_toml(v)}" for k, v in to_dict(spec).items())]
    path = cache / f"{spec.name}{NATIVE_SUFFIX}"
    store.write(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def _toml(value: object) -> str:
    """A value of a spec on one line of TOML. What is None is left out, as TOML has no word for it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def cache_folder() -> Path:
    """Where exports of earlier runs are: MFEDGE_CACHE, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mfedge"
    return Path(os.environ.get("MFEDGE_CACHE") or default) / "bench"


def _content(spec: Spec) -> str:
    """A name for everything an export depends on: the spec, this package's code and the native kernels as they are
    built, the versions of what it uses."""
    import msgspec

    from mfedge.bench.measure.environment import LIBRARIES, distribution_version
    from mfedge.kernels import find as native

    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted"))
    for file in sorted(package.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and file.parent.name != "lib":
            digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    for name in native.NAMES:
        library = native.find(name)
        digest.update(name.encode() + (b"" if library is None else library.read_bytes()))
    digest.update(repr([(name, distribution_version(name)) for name in LIBRARIES]).encode())
    return digest.hexdigest()[:20]


def resolve(
    models: Sequence[str], runtimes: Sequence[str] | None, sizes: Sequence[Size], exporter: Exporter = export
) -> list[Case]:
    """Every case, model by model, runtime by runtime, size by size.

    Args:
        models: variants, folders or files; two of one name are told apart by their folder.
        runtimes: None takes all that are asked for by default and can read the model.

    Raises:
        UsageError: an unknown runtime, a path that is not there, or a model no runtime can read.
    """
    for runtime in runtimes or ():
        if runtime not in SUFFIXES:
            raise UsageError(f"runtime {runtime}: unknown; expected one of {', '.join(SUFFIXES)}")
    cases = []
    names = _names(models)
    for model, name in zip(models, names, strict=True):
        found = False
        for runtime in runtimes or DEFAULT_RUNTIMES:
            if runtime == "torch" and model.endswith("-fp16"):
                continue  # PyTorch runs the network itself, and that is float32
            path = find(Path(model), runtime) if is_path(model) else find(exporter(model, runtime), runtime)
            if path is None:
                continue
            found = True
            digest, count = checksum(path)
            norms = batch_norms(path)
            cases += [Case(name, runtime, size, str(path.resolve()), digest, count, norms) for size in sizes]
        if not found:
            wanted = ", ".join(runtimes or DEFAULT_RUNTIMES)
            raise UsageError(
                f"{model}: expected a file that one of {wanted} reads, found none; choose other --runtimes"
            )
    return cases


def is_path(model: str) -> bool:
    """Whether it names a file or folder rather than a variant; a variant's own .toml, or NAME@native, is a variant."""
    if model.endswith(".toml") or model.rpartition("@")[2] in KERNELS:
        return False
    return "/" in model or model.endswith(MODEL_SUFFIXES) or Path(model).is_dir()


def find(path: Path, runtime: str) -> Path | None:
    """The file that `runtime` loads: the file itself, or the one in the artifact folder; None if there is none.

    Raises:
        UsageError: nothing is there, or a folder holds several files of that kind.
    """
    if path.is_file():
        return path if path.suffix in SUFFIXES[runtime] else None
    if not path.is_dir():
        raise UsageError(
            f"{path}: expected an artifact folder or a {', '.join(MODEL_SUFFIXES)} file, found nothing there"
        )
    for suffix in SUFFIXES[runtime]:
        files = sorted(path.glob(f"*{suffix}"))
        named = [file for file in files if file.stem == "model"] or files
        if len(named) > 1:
            raise UsageError(f"{path}: expected one {suffix} file, found {len(named)}; name one of them")
        if named:
            return named[0]
    return None


def checksum(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a model: the file, and what lies beside it under its name (.bin, .data)."""
    digest, count = hashlib.sha256(), 0
    for file in (path, *companions(path)):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                count += len(chunk)
    return digest.hexdigest(), count


def companions(path: Path) -> list[Path]:
    """The weights a model keeps in files of their own."""
    if path.suffix == ".xml":
        return [file for file in (path.with_suffix(".bin"),) if file.is_file()]
    return [file for file in (path.with_name(path.name + ".data"), path.with_suffix(".data")) if file.is_file()]


def batch_norms(path: Path) -> int | None:
    """BatchNorm operators left in the file; TFLite has none to leave, and of a traced program it is not known."""
    if path.suffix == ".tflite":
        return 0
    if path.suffix not in NORMALISED:
        return None
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        return sum(1 for node in graph.node if node.op_type == "BatchNormalization")
    return path.read_bytes().count(NORMALISED[path.suffix])


def _names(models: Sequence[str]) -> list[str]:
    """Short names: a variant's own, a folder's or file's; what is ambiguous keeps its folder's name before it."""
    paths = [Path(model) if is_path(model) else Path(split_kernels(model)[0]) for model in models]
    short = [
        (path.parent.name if path.stem == "model" and path.parent.name else path.stem if path.suffix else path.name)
        if is_path(model)
        # not the stem: "mobilenet-v3-large-0.75" has no suffix
        else re.sub(r"^(\d+m)$", r"mobile-former-\1", path.name.removesuffix(".toml"))
        + "".join(model.rpartition("@")[1:]).replace("@", "-") * ("@" in model)
        for model, path in zip(models, paths, strict=True)
    ]
    names = [
        f"{path.resolve().parent.name}-{name}" if short.count(name) > 1 else name
        for name, path in zip(short, paths, strict=True)
    ]
    if len(set(names)) < len(names):
        return [f"{name}-{i + 1}" for i, name in enumerate(names)]
    return names
