"""What is no file in the place of a file: pipes, folders, links in a circle, devices, a terabyte of nothing."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from mfedge import runtimes
from mfedge.artifacts.request import weights_sha256
from mfedge.artifacts.targets import load_target
from mfedge.bench import cases, suite
from mfedge.bench.gate import figures
from mfedge.bench.profile import run as profiles
from mfedge.bench.results import schema as results
from mfedge.data.images import load_image, photograph
from mfedge.errors import Exit
from mfedge.formats.table import format_of
from mfedge.predict import classify
from mfedge.zoo import load_spec
from tests.fuzz.case import GIB, USAGE, Call, Case, Kind
from tests.fuzz.kinds import artifacts, models
from tests.fuzz.kinds import seeds as corpus

INPUT, CHECKPOINT = frozenset({Exit.INPUT}), frozenset({Exit.CHECKPOINT})


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may be 107 bytes long
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _deep(path: Path) -> None:
    path.mkdir()
    (path / "a").mkdir()
    (path / path.name).write_bytes(b"")


ODD: dict[str, Callable[[Path], None]] = {
    "a pipe": _fifo,
    "a socket": _socket,
    "a folder": _deep,
    "a terabyte of zeros": _sparse,
    "a link to itself": _loop,
    **{
        f"a link to {name}": _link(name)
        for name in ("nowhere", "/dev/zero", "/dev/full", "/dev/stdin", "/proc/self/mem")
    },
    "nothing": lambda path: None,
    "no bytes": lambda path: path.write_bytes(b"") and None,
}


def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
    kind = generator.choice(sorted(ODD))
    what = generator.randrange(3)
    if what == 0:
        place = Path(shutil.copytree(generator.choice(sorted(seeds.iterdir())), folder / "artifact"))
        path = generator.choice(sorted(place.iterdir()))
        path.unlink()
        ODD[kind](path)
        return Case(f"{kind} as {path.name}", artifacts.calls_of(place))
    name = generator.choice(sorted(READERS))
    suffix = name.partition(" ")[0]
    path = folder / (f"file{suffix}" if generator.random() < 0.9 else "x" * generator.choice((250, 300, 5000)) + suffix)
    if len(path.name) < 250:
        ODD[kind](path)
    return Case(f"{kind} as {name}", [READERS[name](path)])


READERS: dict[str, Callable[[Path], Call]] = {
    ".toml of a network": lambda path: Call("load_spec", lambda: load_spec(str(path)), USAGE),
    ".toml of a target": lambda path: Call("load_target", lambda: load_target(str(path), (), None, None), USAGE),
    ".toml of a suite": lambda path: Call("suite.read", lambda: suite.read(str(path)), USAGE),
    ".json of a result": lambda path: Call("results.read", lambda: results.read(path), USAGE),
    ".json of figures": lambda path: Call("figures.read", lambda: figures.read(path), USAGE),
    ".json of a profile": lambda path: Call("profile.read", lambda: profiles.read(path), USAGE),
    ".jpg": lambda path: Call("load_image", lambda: load_image(path), INPUT),
    ".pth": lambda path: Call("weights convert", lambda: _convert(path), CHECKPOINT),
    ".safetensors": lambda path: Call("weights convert", lambda: _convert(path), CHECKPOINT),
    ".pth for its sum": lambda path: Call("weights_sha256", lambda: weights_sha256(path), CHECKPOINT),
    **{
        f"{suffix} to {name}": lambda path, call=call, name=name: Call(name, lambda: call(path), models.FILE)
        for suffix in (".onnx", ".xml", ".tflite")
        for name, call in {
            "load": runtimes.load,
            "operators": lambda path: format_of(path).operators(path),
            "figures": lambda path: figures.count(path, models.SIZE),
            "bench": lambda path: cases.resolve([str(path)], None, [models.SIZE]),
            "predict": lambda path: classify(path, photograph()),
        }.items()
    },
}


def _convert(path: Path) -> int:
    from mfedge.checkpoint import convert

    return convert(path, path.parent / "made.safetensors")


def prepare(folder: Path) -> None:
    for name in artifacts.PORTABLE:
        corpus.of_today(name, folder / name)


KINDS = (Kind("place", make, prepare, (*artifacts.MODULES, "mfedge.checkpoint"), memory=3 * GIB, seconds=10.0),)
