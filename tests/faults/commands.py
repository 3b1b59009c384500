"""What commands read and write, and how one sees that a file is as it was before, or wholly new."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import torch
from msgspec import Struct

from mfedge.artifacts import manifest
from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.bench.count import emulator
from mfedge.bench.results.schema import encode
from mfedge.data.images import photograph
from mfedge.formats.table import FORMATS
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.bench.made import made_result
from tests.conftest import network

SIZE = Size(64, 64)
ARTIFACT = {name: Request.of(load_spec("26m"), (name,), SIZE).name(row) for name, row in FORMATS.items()}
QUICK = ("--sizes", "64", "--processes", "1", "--budget", "4s", "--within", "50%")
DRAWN = ("report.md", "report.csv", "chart.svg", "chart.png", "report.html")


class Command(Struct, frozen=True):
    """A command line, run beside the folders `in` and `out`, and the files in `out` that appear together."""

    name: str
    line: tuple[str, ...]
    units: tuple[tuple[str, ...], ...] = ()  # paths in `out`; a folder stands for all that is in it
    repeats: bool = True  # the same bytes every time

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all units."""
        return tuple(path for unit in self.units for path in unit)


def emulates() -> bool:
    """Whether `mfedge count --on avx2` has what it needs here."""
    programs = all(shutil.which(program) for program in (*emulator.TOOLS, "qemu-x86_64"))
    return programs and importlib.util.find_spec("capstone") is not None


COMMANDS = (
    Command(
        "export",
        ("export", "--variant", "26m", *(word for name in FORMATS for word in ("--format", name)),
         "--size", "64", "--output", "out"),
        tuple((name,) for name in ARTIFACT.values()),
    ),
    Command(
        "weights", ("weights", "convert", "in/weights.pth", "out/weights.safetensors"), (("weights.safetensors",),)
    ),
    Command(
        "bench",
        ("bench", "--models", f"in/{ARTIFACT['onnx']}", "--runtimes", "onnxruntime", *QUICK, "--output", "out/bench"),
        (("bench/result.json",), tuple(f"bench/{name}" for name in DRAWN)),
        repeats=False,
    ),
    Command("report", ("report", "in/result.json", "--output", "out/report"), (("report",),)),
    Command(
        "profile",
        ("profile", f"in/{ARTIFACT['onnx']}", "--runs", "3", "--output", "out/profile"), (("profile",),), repeats=False,
    ),
    Command(
        "gate",
        ("gate", f"in/{ARTIFACT['onnx']}", f"in/{ARTIFACT['onnx']}", "--figures-only", "--save-figures",
         "out/figures.json", "--markdown", "out/gate.md", "--junit", "out/gate.xml"),
        (("figures.json",), ("gate.md",), ("gate.xml",)),
    ),
    *(
        Command(
            "count",
            ("count", f"in/{ARTIFACT['onnx']}", "--on", "avx2", "--output", "out/counts"),
            (("counts/result.json", "counts/report.md"),),
            repeats=False,
        )
        for _ in range(emulates())
    ),
    Command("verify", ("verify", f"in/{ARTIFACT['openvino']}")),
    Command("predict", ("predict", f"in/{ARTIFACT['tflite']}", "in/photo.jpg")),
    Command("info", ("info", "--json")),
)  # fmt: skip


class World:
    """A user's folder: what commands read is in `in`, what they write in `out`; HOME and TMPDIR are beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out, self.temporary, self.home = folder / "out", folder / "tmp", folder / "home"

    @staticmethod
    def made(folder: Path) -> World:
        """A new one. Of what the commands write, an earlier answer of some is there already."""
        world = World(folder)
        for place in (folder / "in", world.out, world.temporary, world.home):
            place.mkdir(parents=True)
        export(Request.of(load_spec("26m"), tuple(FORMATS), SIZE), folder / "in")
        torch.save(network("26m").state_dict(), folder / "in" / "weights.pth")
        (folder / "in" / "result.json").write_bytes(encode(made_result((224, 512, 1024), rounds=6)))
        shutil.copy(photograph(), folder / "in" / "photo.jpg")
        earlier = Path(shutil.copytree(folder / "in" / ARTIFACT["onnx"], world.out / ARTIFACT["onnx"]))
        sealed = msgspec.structs.replace(manifest.opened(earlier), versions={"onnx": "an earlier one"})
        (earlier / "manifest.json").write_bytes(manifest.encode(sealed))
        (world.out / "weights.safetensors").write_bytes(b"an earlier one")
        (world.out / "report").mkdir()
        for name in DRAWN:
            (world.out / "report" / name).write_text("an earlier one")
        (world.out / "gate.md").write_text("an earlier one")
        return world

    def copy(self, folder: Path) -> World:
        """Another one with the same contents; `in` is shared."""
        folder.mkdir()
        (folder / "in").symlink_to(self.folder / "in", target_is_directory=True)
        for place in (self.out, self.temporary, self.home):
            shutil.copytree(place, folder / place.name)
        return World(folder)

    def start(
        self, command: Command, environment: Mapping[str, str] = {}, limit: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        """Begin a command in this world. Every process that it starts carries the world's name.

        Args:
            command: to run.
            environment: variables beside those of this process.
            limit: called in the new process.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "mfedge", *command.line],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "HOME": str(self.home), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1",
                 "MFEDGE_TEST_WORLD": str(self.folder), **environment}, preexec_fn=limit,
        )  # fmt: skip

    def processes(self) -> list[str]:
        """Command lines of processes that were started in this world and still live."""
        mark = f"MFEDGE_TEST_WORLD={self.folder}\0".encode()
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and mark in (process / "environ").read_bytes() + b"\0":
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # gone, or another user's
                continue
        return found


def contents(folder: Path) -> dict[str, bytes]:
    """Path → bytes of every file below; an empty folder is a path that ends in a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found


def state(
    command: Command, unit: tuple[str, ...], *, now: dict[str, bytes], was: dict[str, bytes], whole: dict[str, bytes]
) -> str:
    """Of files that appear together: "before", "after" or "half"."""
    of = [{name: data for name, data in each.items() if name.startswith(unit)} for each in (now, was, whole)]
    if of[0] == of[1]:
        return "before"
    if command.repeats:
        return "after" if of[0] == of[2] else "half"
    sound = all(data and (not name.endswith(".json") or json.loads(data)) for name, data in of[0].items())
    return "after" if of[0].keys() == of[2].keys() and sound else "half"
