"""Artifacts: manifests with any values behind a seal that is right, and whatever else may lie in their folder."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import safetensors.numpy

from mfedge.artifacts import manifest
from mfedge.artifacts.folder import MANIFEST, check_destination
from mfedge.artifacts.proof import FILE
from mfedge.artifacts.verify import Verified, verify
from mfedge.bench import cases
from mfedge.data.images import photograph
from mfedge.errors import Exit
from mfedge.predict import Prediction, classify
from tests.fuzz import octets, values
from tests.fuzz.case import ARTIFACT, GIB, USAGE, Call, Case, Kind
from tests.fuzz.kinds import seeds as corpus

PORTABLE = tuple(name for name in corpus.NAMES if "-native-" not in name)
PROVEN = frozenset({Exit.ARTIFACT, Exit.PARITY})
# One file cannot be measured at a size that it does not take, and another one's suffix is asked for by name.
RESOLVED = ARTIFACT | USAGE


def prepare(folder: Path) -> None:
    for name in PORTABLE:
        corpus.of_today(name, folder / name)
    corpus.stored(PORTABLE[0], folder / "schema-1")


def calls_of(place: Path) -> list[Call]:
    """What the commands do with an artifact."""
    return [
        Call("manifest.opened", lambda: manifest.opened(place), ARTIFACT, _sized),
        Call("verify", lambda: verify(place), PROVEN, verified),
        Call("predict", lambda: classify(place, photograph()), ARTIFACT, predicted),
        Call("bench cases", lambda: cases.resolve([str(place)], None, [corpus.SIZE]), RESOLVED),
        Call("default size", lambda: cases.default_size(str(place)), ARTIFACT),
    ]


def of_manifest(generator: random.Random, seeds: Path, folder: Path) -> Case:
    """The manifest's values."""
    seed = generator.choice(sorted(seeds.iterdir()))
    place = Path(shutil.copytree(seed, folder / "artifact"))
    tree = values.changed(json.loads((place / MANIFEST).read_bytes()), generator, raw=generator.random() < 0.2)
    if generator.random() < 0.9 and isinstance(tree, dict):
        try:
            (place / MANIFEST).write_bytes(corpus.sealed(tree))
            return Case(f"{seed.name}, sealed", calls_of(place))
        except (UnicodeEncodeError, OverflowError, ValueError, TypeError, RecursionError):
            pass  # what JSON of msgspec's cannot hold is written without a seal
    (place / MANIFEST).write_bytes(values.to_json(tree).encode("utf-8", "surrogatepass"))
    return Case(seed.name, calls_of(place))


def of_folder(generator: random.Random, seeds: Path, folder: Path) -> Case:
    """The other files, sealed or not."""
    seed = generator.choice(sorted(path for path in seeds.iterdir() if path.name != "schema-1"))
    place = Path(shutil.copytree(seed, folder / "artifact"))
    name, change = generator.choice(list(CHANGES.items()))
    change(place, generator)
    if generator.random() < 0.8 and name != "bytes":
        corpus.resealed(place)
    return Case(
        f"{seed.name}, {name}", [*calls_of(place), Call("export over it", lambda: check_destination(place), USAGE)]
    )


def _proof(place: Path, generator: random.Random) -> None:
    """Tensors of the proof: left out, of other shapes, of other types, not finite."""
    tensors = safetensors.numpy.load_file(place / FILE)
    for _ in range(generator.randint(1, 2)):
        name = generator.choice(sorted(tensors))
        value = tensors[name]
        choice = generator.randrange(6)
        if choice == 0:
            del tensors[name]
        elif choice == 1:
            tensors[name] = value.astype(generator.choice(("uint8", "float64", "int32", "bool", "float16")))
        elif choice == 2:
            tensors[name] = value.reshape(-1)[: generator.choice((0, 1, 3))]
        elif choice == 3 and value.dtype.kind == "f":
            value.reshape(-1)[generator.randrange(value.size)] = generator.choice((math.nan, math.inf, 1e38, 0.0))
        elif choice == 4:
            tensors[values.text(generator).encode("utf-8", "replace").decode()] = value
        else:
            tensors[name] = value[..., None]
        tensors = tensors or {"a": value}
    (place / FILE).write_bytes(safetensors.numpy.save(tensors))


def _proof_header(place: Path, generator: random.Random) -> None:
    data = (place / FILE).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tree = values.changed(json.loads(data[8 : 8 + length]), generator)
    text = values.to_json(tree).encode("utf-8", "surrogatepass")
    (place / FILE).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def _bytes(place: Path, generator: random.Random) -> None:
    path = generator.choice(sorted(place.iterdir()))
    path.write_bytes(octets.changed(path.read_bytes(), generator))
    if path.name != MANIFEST and generator.random() < 0.8:
        corpus.resealed(place)


def _labels(place: Path, generator: random.Random) -> None:
    lines = [values.text(generator) for _ in range(generator.choice((0, 1, 4, 5, 6, 2000)))]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    (place / "labels.txt").write_bytes(generator.choice((data, b"", b"\xff\xfe" + data, b"a" * (1 << 20), b"\n" * 5)))


def _another(place: Path, generator: random.Random) -> None:
    """A file more, listed or not."""
    name = generator.choice(
        ("model.bin", "model.onnx", "x.tflite", "a b", "\x1b[31m", "x" * 200, ".hidden", "\udcff", "model.data")
    )
    (place / name).write_bytes(b"\0" * generator.choice((0, 10, 10_000)))
    if generator.random() < 0.7 and "\udcff" not in name:
        path = place / MANIFEST
        tree = json.loads(path.read_bytes())
        tree["files"][name] = ""
        path.write_bytes(corpus.sealed(tree))


def _fewer(place: Path, generator: random.Random) -> None:
    path = generator.choice(sorted(path for path in place.iterdir() if path.name != MANIFEST))
    path.unlink()
    if generator.random() < 0.7:
        tree = json.loads((place / MANIFEST).read_bytes())
        del tree["files"][path.name]
        (place / MANIFEST).write_bytes(corpus.sealed(tree))


CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    "proof": _proof, "header of the proof": _proof_header, "bytes": _bytes, "labels": _labels, "a file more": _another,
    "a file less": _fewer,
}  # fmt: skip


def _sized(found: manifest.Manifest) -> str | None:
    size = found.size
    return None if size is None or size.height > 0 < size.width else f"has a size of {size}"


def verified(found: Verified) -> str | None:
    numbers = found.bound, found.max_relative
    if not all(map(math.isfinite, numbers)) or not 0 <= found.max_relative <= found.bound < 1 or found.cases < 1:
        return f"verifies {found.cases} cases within {found.max_relative} of {found.bound}"
    return None


def predicted(found: Prediction) -> str | None:
    odds = [guess.probability for guess in found.classes]
    if not odds or not all(math.isfinite(value) for value in odds) or not 0 < sum(odds) <= 1 + 1e-6:
        return f"predicts {odds}"
    return None


MODULES = ("onnx", "onnxruntime", "openvino", "ai_edge_litert.interpreter", "safetensors.numpy")
KINDS = (
    Kind("manifest", of_manifest, prepare, MODULES, memory=3 * GIB),
    Kind("artifact", of_folder, prepare, MODULES, memory=3 * GIB),
)
