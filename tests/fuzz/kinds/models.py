"""What the kinds of model files share: their seeds, and what commands do with a model."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mfedge import runtimes
from mfedge.arrays import random_images
from mfedge.artifacts.verify import verify
from mfedge.bench import cases
from mfedge.bench.gate import figures
from mfedge.data.images import photograph
from mfedge.errors import Exit
from mfedge.families.table import imported
from mfedge.formats.table import format_of, read_graph
from mfedge.predict import classify
from mfedge.runtimes.table import RUNTIMES
from mfedge.workers import foreign
from tests.fuzz.case import ARTIFACT, GIB, Call, Case, Kind
from tests.fuzz.kinds import artifacts
from tests.fuzz.kinds import seeds as corpus

SIZE = corpus.SIZE
# A bare file may take another size than the one it is asked for.
FILE = frozenset({Exit.ARTIFACT, Exit.USAGE})


def kinds(
    format_name: str, model: str, change: Callable[[Path, random.Random], str], modules: Sequence[str]
) -> tuple[Kind, ...]:
    """Portable files, native ones, and dynamic ones and halves.

    Args:
        format_name: a row of the formats' table.
        model: the name of its file.
        change: changes the model in an artifact's folder, and says how.
        modules: that the format needs.
    """

    def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
        seed = generator.choice(sorted(seeds.iterdir()))
        place = Path(shutil.copytree(seed, folder / "artifact"))
        return case(f"{seed.name}: {change(place, generator)}", place, place / model, generator)

    def stored(kernels: str) -> Callable[[Path], None]:
        return lambda folder: corpus.of_today(f"tiny-32x48-fp32{kernels}-{format_name}", folder / "fixed") and None

    return (
        Kind(format_name, make, stored(""), tuple(modules), memory=4 * GIB),
        Kind(f"{format_name}-native", make, stored("-native"), tuple(modules), memory=4 * GIB),
        Kind(
            f"{format_name}-variants", make, lambda folder: corpus.variants(format_name, folder), tuple(modules),
            memory=4 * GIB, quick=False,
        ),
    )  # fmt: skip


def case(note: str, place: Path, path: Path, generator: random.Random) -> Case:
    """The bare file, or the artifact that it is in, sealed."""
    if generator.random() < 0.4:
        corpus.resealed(place)
        calls = [
            Call("verify", lambda: verify(place), artifacts.PROVEN, artifacts.verified),
            Call("predict", lambda: classify(place, photograph()), ARTIFACT, artifacts.predicted),
        ]
        return Case(f"{note}, sealed", calls)
    calls = [
        Call("load and run", lambda: _run(path), FILE, _arrays),
        Call("operators", lambda: format_of(path).operators(path), ARTIFACT),
        Call("gate --figures-only", lambda: figures.count(path, SIZE), FILE, _counted),
        Call("profile", lambda: _profiled(path), FILE),
        Call("bench cases", lambda: cases.resolve([str(path)], None, [SIZE]), FILE),
    ]
    return Case(note, generator.sample(calls, len(calls)))


def _run(path: Path) -> dict[str, Any]:
    session = runtimes.load(path)
    images = random_images(0, SIZE.height, SIZE.width)
    with foreign.opening(session.metadata.runtime, path):
        session.invoke(session.prepare(images))
        return session.run(images)


def _arrays(found: dict[str, Any]) -> str | None:
    if not all(isinstance(value, np.ndarray) for value in found.values()):
        return f"gives {[type(value).__name__ for value in found.values()]}"
    return None


def _counted(found: figures.Figures) -> str | None:
    bad = {name: value for name, value in found.numbers().items() if not 0 <= value < 1 << 60}
    return f"counts {bad}"[:200] if bad else None


def _profiled(path: Path) -> Any:
    """What `mfedge profile` does, but for the peak of the machine, which no file changes."""
    row = next(row for row in RUNTIMES.values() if row.suffix == path.suffix)
    counted = read_graph(path, SIZE)
    images = random_images(0, SIZE.height, SIZE.width)
    if row.profiler is None:
        return counted
    runtimes.load(path)
    with foreign.opening(row.label, path):
        return imported(row.profiler)(path, images, 2, counted)
