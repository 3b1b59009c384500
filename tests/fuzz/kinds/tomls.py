"""TOML files: networks, targets and suites."""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import tomllib
from pathlib import Path
from typing import Any

from mfedge import resources
from mfedge.artifacts.targets import load_target
from mfedge.bench import suite
from mfedge.count import Count, count
from mfedge.errors import UnsupportedError
from mfedge.families.spec import Spec
from mfedge.families.table import check_kernels
from mfedge.zoo import is_shipped, load_spec
from tests.fuzz import octets, values
from tests.fuzz.case import USAGE, Call, Case, Kind

FOLDERS = ("models", "export", "benchmarks")


def prepare(folder: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(
            resources.folder(name), folder / name, ignore=lambda _, names: [n for n in names if "." not in n]
        )


def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
    of = generator.choice(FOLDERS)
    seed = generator.choice(sorted((seeds / of).glob("*.toml")))
    path = folder / generator.choice(
        ("mine.toml", "mine.toml", "mine.toml", "a b.toml", "\x1b[31m.toml", "x" * 240 + ".toml")
    )
    note = f"{of}/{seed.name}"
    if generator.random() < 0.2:
        path.write_bytes(octets.changed(seed.read_bytes(), generator))
    else:
        tree = tomllib.loads(seed.read_text())
        if "base" in tree and generator.random() < 0.8:
            tree = tomllib.loads((seeds / of / f"{tree['base']}.toml").read_text()) | tree
            del tree["base"]
        text = values.to_toml(values.changed(tree, generator), generator)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case(note, [_call(of, str(path))])


def _call(of: str, path: str) -> Call:
    if of == "models":
        return Call("load_spec", lambda: _spec(path), USAGE, _plausible)
    if of == "export":
        return Call("load_target", lambda: load_target(path, (), None, None), USAGE)
    return Call("suite.read", lambda: _suite(path), USAGE)


def _spec(path: str) -> tuple[Spec, Count]:
    spec = load_spec(path)
    is_shipped(spec)
    with contextlib.suppress(UnsupportedError):  # most networks are more than the kernels compute
        check_kernels(spec)
    height, width = spec.fixed_size or (224, 256)
    return spec, count(spec, height, width, 1000)


def _plausible(answer: tuple[Spec, Count]) -> str | None:
    _, counted = answer
    like = counted.madds_paper_like
    if not 0 < counted.params < 1e12 or not 0 < counted.madds < 1e16:
        return f"counts {counted.params} parameters, {counted.madds} multiply-adds"
    paper = (counted.paper.params_millions, counted.paper.madds_millions, counted.paper.top1, like)
    if not all(value is None or math.isfinite(value) for value in paper):
        return "has figures that are not finite"
    return None


def _suite(path: str) -> Any:
    found = suite.read(path)
    found.protocol()
    found.parsed_sizes()
    return suite.choose_reference(found.reference, list(found.models))


KINDS = (Kind("toml", make, prepare),)
