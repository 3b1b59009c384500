"""Which file is measured for a model × runtime × size.

A model on the command line is a variant ("214m", "214m@native", "214m@native-fp16"; see `exports`), an artifact folder,
or a bare model file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from mfedge import reading, resources, zoo
from mfedge.artifacts import manifest
from mfedge.artifacts.folder import MANIFEST
from mfedge.artifacts.manifest import Manifest
from mfedge.bench import exports
from mfedge.bench.stored import MOST_CASES, too_many
from mfedge.errors import ArtifactError, UsageError
from mfedge.formats.table import FORMATS, suffixes
from mfedge.precisions import PRECISIONS
from mfedge.runtimes.table import RUNTIMES, runtime_named
from mfedge.sizes import DEFAULT, Size

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


def resolve(
    models: Sequence[str], runtimes: Sequence[str] | None, sizes: Sequence[Size], exporter: Exporter = exports.export
) -> list[Case]:
    """Every case, model by model, runtime by runtime, size by size.

    Args:
        models: variants, folders or files; two of one name are told apart by their folder.
        runtimes: None takes all that are measured by default and can read the model.

    Raises:
        UsageError: an unknown runtime, a path that is not there, a model no runtime can read, or too many cases.
    """
    for runtime in runtimes or ():
        runtime_named(runtime)
    wanted = runtimes or [name for name, row in RUNTIMES.items() if row.measured]
    if len(models) * len(wanted) * len(sizes) > MOST_CASES:
        raise UsageError(too_many(len(models), len(wanted), len(sizes)))
    cases = []
    for model, name in zip(models, names(models), strict=True):
        found = False
        for runtime in wanted:
            path = _file(model, runtime, exporter)
            if path is None:
                continue
            found = True
            digest, count = checksum(path)
            norms = batch_norms(path)
            cases += [Case(name, runtime, size, str(reading.real(path)), digest, count, norms) for size in sizes]
        if not found:
            raise UsageError(_not_found(model, wanted))
    return cases


def default_size(model: str) -> Size:
    """What a model is measured at unless a size is asked for: an artifact's own fixed size, else 224.

    Raises:
        ArtifactError: the artifact is damaged.
    """
    return (_artifact(Path(model)) if is_path(model) else None) or DEFAULT


def _artifact(path: Path) -> Size | None:
    """The fixed size of the artifact that a folder or a model file belongs to, once its files have been checked."""
    written = _manifest(path if os.path.isdir(path) else path.parent)
    return written.size if written else None


def _manifest(folder: Path) -> Manifest | None:
    """Of an artifact folder; None of any other folder."""
    return manifest.opened(folder) if os.path.lexists(folder / MANIFEST) else None


def _file(model: str, runtime: str, exporter: Exporter) -> Path | None:
    if is_path(model):
        _artifact(Path(model))
        return find(Path(model), runtime)
    variant = exports.parse(model)
    row = RUNTIMES[runtime]
    if variant is not None and not row.artifacts and PRECISIONS[variant.precision].stored != "float32":
        return None  # PyTorch runs the network itself, and that is float32
    return find(exporter(model, runtime), runtime)


def is_path(model: str) -> bool:
    """Whether it names a file or folder rather than a variant; a variant's own .toml, or NAME@native, is a variant."""
    variant = exports.parse(model)
    if variant is None:
        return True
    if model.endswith(".toml") or variant.suffix:
        return False
    return "/" in model or model.endswith(suffixes()) or Path(model).is_dir()


def find(path: Path, runtime: str) -> Path | None:
    """The file that `runtime` loads: the file itself, or the one in the artifact folder; None if there is none.

    Raises:
        UsageError: nothing is there, or a folder holds several files of that kind.
    """
    suffix = RUNTIMES[runtime].suffix
    reading.name_of(reading.real(path))  # neither a result nor a runtime could be told of another
    if os.path.isfile(path):
        return path if path.suffix == suffix else None
    if not os.path.isdir(path):  # False too of a name that no file can have
        raise UsageError(f"{path}: expected an artifact folder or a {', '.join(suffixes())} file, found nothing there")
    if written := _manifest(path):
        return path / written.model if Path(written.model).suffix == suffix else None
    there = sorted(path.glob(f"*{suffix}"))
    named = [file for file in there if file.stem == "model"] or there
    if len(named) > 1:
        raise UsageError(f"{path}: expected one {suffix} file, found {len(named)}; name one of them")
    return named[0] if named else None


def checksum(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a model: the file, and what lies beside it with its weights.

    Raises:
        ArtifactError: a file cannot be read, or is larger than reading.LARGEST.
    """
    digest, count = hashlib.sha256(), 0
    row = next((row for row in FORMATS.values() if row.suffix == path.suffix), None)
    for file in row.files_of(path) if row else [path]:
        for chunk in _chunks(file):
            digest.update(chunk)
            count += len(chunk)
    return digest.hexdigest(), count


def batch_norms(path: Path) -> int | None:
    """BatchNorm operators left in the file; None of a traced program, of which it is not known."""
    row = next((row for row in FORMATS.values() if row.suffix == path.suffix), None)
    if row is None:
        return None
    if row.norm is None:
        return 0
    count, tail = 0, b""
    for chunk in _chunks(path):
        found = tail + chunk
        count += found.count(row.norm)
        tail = found[1 - len(row.norm) :]  # too short to hold one, and one may begin in it
    return count


def _chunks(path: Path) -> Iterator[bytes]:
    with reading.opened(path, reading.LARGEST, ArtifactError) as file:
        while chunk := file.read(1 << 20):
            yield chunk


def names(models: Sequence[str]) -> list[str]:
    """Short names: a variant's own, a folder's or file's; what is ambiguous keeps its folder's name before it."""
    short, folders = [], []
    for model in models:
        path, suffix = _origin(model)
        folders.append(reading.real(path).parent.name)
        if suffix is not None:
            short.append(path.name.removesuffix(".toml") + suffix)
        elif path.stem == "model" and path.parent.name:
            short.append(path.parent.name)
        else:
            short.append(path.stem if path.suffix else path.name)
    found = [f"{folder}-{name}" if short.count(name) > 1 else name for name, folder in zip(short, folders, strict=True)]
    if len(set(found)) < len(found):
        return [f"{name}-{i + 1}" for i, name in enumerate(found)]
    return found


def place(model: str, models: Sequence[str]) -> int | None:
    """Where a model stands among others, by its name in results or another spelling of it; None if it is none of them.

    Raises:
        UsageError: it is no variant, and no path.
    """
    found = names(models)
    if model in found:
        return found.index(model)
    path, suffix = _origin(model)
    spelled = [(reading.real(other), with_) for other, with_ in map(_origin, models)]
    return spelled.index((reading.real(path), suffix)) if (reading.real(path), suffix) in spelled else None


def _origin(model: str) -> tuple[Path, str | None]:
    """The path that a model comes from, and, of a variant, what stands after its name in a table."""
    variant = None if is_path(model) else exports.parse(model)
    if variant is None:
        return Path(model), None
    own = resources.is_file_name(variant.name)
    return Path(variant.name) if own else zoo.find(variant.name), variant.suffix


def _not_found(model: str, wanted: Sequence[str]) -> str:
    """The line for a model that none of the wanted runtimes can be given."""
    path = Path(model)
    artifacts = sorted(file.parent.name for file in path.glob(f"*/{MANIFEST}")) if path.is_dir() else []
    if artifacts:
        return (
            f"{model}: expected an artifact folder, found a folder that holds {len(artifacts)} of them; "
            f"name one, for instance {path / artifacts[0]}"
        )
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    readers = {file.name: [row.name for row in RUNTIMES.values() if row.suffix == file.suffix] for file in files}
    found = [f"{name} for {' or '.join(runtimes)}" for name, runtimes in readers.items() if runtimes]
    return f"{model}: expected a file that one of {', '.join(wanted)} reads, found {', '.join(found) or 'none'}"
