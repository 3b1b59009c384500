"""`mfedge count` of whole models: what repeats, what agrees, and what a hostile file comes to.

x86-64 needs Debian's qemu-user and a C compiler. 64-bit ARM needs what `make setup-aarch64` fetches too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfedge import runtimes
from mfedge.arrays import random_images
from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.bench.cases import Case, resolve
from mfedge.bench.count import cores, emulator, run, symbols
from mfedge.bench.count.schema import Count
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.formats.table import FORMATS
from mfedge.kernels import find
from mfedge.sizes import Size
from mfedge.workers.process import Limits
from mfedge.zoo import load_spec
from tests.bench.test_figures import small

pytest.importorskip("capstone")

SIZE = Size(64, 96)
ARM = (emulator.folder() / emulator.READY).is_file()
TOOLS = [tool for tool in (*emulator.TOOLS, "qemu-x86_64", "addr2line") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"not installed here: {', '.join(TOOLS)}")
needs_arm = pytest.mark.skipif(not ARM, reason="no parts for 64-bit ARM here: make setup-aarch64")
needs_kernels = pytest.mark.skipif(find.find("kernels") is None, reason="native kernels are not built")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(kernels, format) → artifact of Mobile-Former-26M, made as they are asked for."""

    class Made(dict[tuple[str, str], Path]):
        def __missing__(self, key: tuple[str, str]) -> Path:
            request = Request.of(load_spec("26m"), (key[1],), SIZE, kernels=key[0])
            (self[key],) = export(request, tmp_path_factory.mktemp(key[0]))
            return self[key]

    return Made()


def case_of(path: Path, size: Size = SIZE) -> Case:
    (case,) = resolve([str(path)], None, [size])
    return case


def ours(count: Count) -> list[int]:
    """Instructions of mfedge's own library."""
    return [row.total for row in count.libraries if row.name.startswith(symbols.OURS)]


def agrees(outputs: dict[str, tuple[float, ...]], path: Path) -> None:
    """What the emulated process computed is what this one computes."""
    expected = runtimes.load(path).run(random_images(run.SEED, SIZE.height, SIZE.width))
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values.ravel(), rtol=0, atol=1e-5 * float(np.abs(values).max()))


@needs_kernels
def test_two_counts_are_the_same_and_the_outputs_are_this_machine_s(artifacts: Any) -> None:
    path = artifacts["native", "tflite"]
    first, second = (run.count(case_of(path), cores.read("avx2")) for _ in range(2))
    assert first.count.functions == second.count.functions and len(ours(first.count)) == 1
    assert abs(first.count.whole.total / second.count.whole.total - 1) <= 1e-6
    assert max(first.count.repeats) / min(first.count.repeats) - 1 <= 1e-4
    agrees(first.outputs, path)
    count = first.count
    assert ours(count) == [sum(row.total for row in count.functions)], "every instruction of ours has a function"
    assert (count.kernels, count.isa) == ("native", "avx2") and count.madds
    useful = count.whole.instructions[0]
    assert count.madds / 8 * 0.9 < useful < count.madds / 8 * 1.6, "eight lanes, and some of them at edges are idle"


def test_a_file_of_another_tool_is_counted_and_reported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    small(tmp_path / "foreign.onnx")
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module of the working folder was imported')")
    command = [sys.executable, "-P", "-m", "mfedge", "count", "foreign.onnx", "--on", "avx2", "--size", "64x96"]
    done = subprocess.run([*command, "--json", "--output", "out"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (count,) = json.loads(done.stdout)["counts"]
    assert count["functions"] == [] and count["kernels"] == "portable"
    assert any(row["name"].startswith("onnxruntime_pybind11") for row in count["libraries"])
    assert json.loads((tmp_path / "out" / "result.json").read_text())["counts"] == [count]
    assert str(tmp_path) not in done.stdout, "no path of this machine travels"


def test_a_hostile_file_is_one_line_and_exit_code_6(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(256)) * 64)
    command = [sys.executable, "-m", "mfedge", "count", "bad.tflite", "--on", "avx2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 6 and done.stdout == ""
    assert re.fullmatch(r"error: bad in litert at 224: [^\n]+\n", done.stderr.splitlines(keepends=True)[-1])
    assert "Traceback" not in done.stderr


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    case = case_of(small(tmp_path / "foreign.onnx"))
    with pytest.raises(ArtifactError, match=r"the counted process did not answer within 0\.5 s and was ended"):
        run.count(case, cores.read("avx2"), Limits(seconds=0.5))


def test_a_process_that_takes_too_much_memory_is_one_line(tmp_path: Path) -> None:
    case = case_of(small(tmp_path / "foreign.onnx"))
    with pytest.raises(ArtifactError, match="the counted process"):
        run.count(case, cores.read("avx2"), Limits(seconds=60, memory_bytes=300 << 20))


def test_an_interruption_ends_the_counted_process_and_leaves_nothing(tmp_path: Path) -> None:
    small(tmp_path / "foreign.onnx")
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "mfedge", "count", "foreign.onnx", "--on", "avx2"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        counted = wait_for_emulator(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and b"Traceback" not in said
    assert not list((tmp_path / "temporary").iterdir())
    assert not Path("/proc", str(counted)).exists()


def wait_for_emulator(parent: int) -> int:
    """The process that a command has started, once it is the emulator."""
    for _ in range(600):
        for children in Path("/proc", str(parent), "task").glob("*/children"):
            for child in children.read_text().split():
                if "qemu-" in Path("/proc", child, "comm").read_text():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("no emulator began")


def test_what_is_missing_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MFEDGE_AARCH64", str(tmp_path))
    with (
        pytest.raises(MissingRuntimeError, match="run `make setup-aarch64`"),
        emulator.emulator(cores.read("cortex-a76"), 1),
    ):
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(MissingRuntimeError, match="apt install gcc qemu-user util-linux"),
        emulator.emulator(cores.read("avx2"), 1),
    ):
        pass
    (tmp_path / emulator.READY).write_text("")
    for name in ("cc", "prlimit", "qemu-aarch64"):
        (tmp_path / name).symlink_to("/bin/true")
    source = next((emulator.PACKAGE / "kernels" / "src").glob("*.h"))
    stamp = source.stat().st_mtime - 10
    os.utime(tmp_path / emulator.READY, (stamp, stamp))
    with (
        pytest.raises(MissingRuntimeError, match="older than their sources"),
        emulator.emulator(cores.read("cortex-a76"), 1),
    ):
        pass


@pytest.mark.slow
@needs_kernels
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind on PATH")
def test_callgrind_counts_the_same(artifacts: Any, tmp_path: Path) -> None:
    """The plain twin on x86-64: what one more inference adds to our library's instructions under callgrind."""
    path = artifacts["native", "tflite"]
    program = (
        "import sys; from pathlib import Path; from mfedge import runtimes; from mfedge.arrays import random_images\n"
        "session = runtimes.load(Path(sys.argv[1]))\n"
        f"prepared = session.prepare(random_images({run.SEED}, {SIZE.height}, {SIZE.width}))\n"
        "for _ in range(int(sys.argv[2])): session.invoke(prepared)\n"
    )
    totals = []
    for inferences in (3, 4):
        out = tmp_path / f"callgrind.{inferences}"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-c", program,
                   str(path / "model.tflite"), str(inferences)]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        totals.append(callgrind_total(out, "libmfedge_litert"))
    (expected,) = ours(run.count(case_of(path), cores.read("avx2")).count)
    assert abs(expected - (totals[1] - totals[0])) <= 10, "of millions: addresses decide whether a copy is aligned"


def callgrind_total(path: Path, library: str) -> int:
    """Instructions of one library in callgrind's file; names are given once and then by number."""
    names: dict[str, str] = {}
    current, total, called = "", 0, False
    for line in path.read_text(errors="replace").splitlines():
        if match := re.match(r"(c?)ob=\((\d+)\)(?: (.*))?", line):
            if match[3]:
                names[match[2]] = match[3]
            current = current if match[1] else match[2]
        elif line.startswith("calls="):
            called = True  # the next line is of the call, and counted where it runs
        elif re.match(r"[0-9+*-]", line):
            if not called and library in names.get(current, ""):
                total += int(line.split()[1])
            called = False
    return total


@pytest.mark.slow
@needs_arm
@pytest.mark.parametrize("kernels", ["portable", pytest.param("native", marks=needs_kernels)])
@pytest.mark.parametrize("name", FORMATS)
def test_64_bit_arm_computes_and_counts_the_same_twice(name: str, kernels: str, artifacts: Any) -> None:
    path = artifacts[kernels, name]
    first, second = (run.count(case_of(path), cores.read("cortex-a76")) for _ in range(2))
    agrees(first.outputs, path)
    assert first.count.functions == second.count.functions
    limit = 1e-6 if name != "openvino" else 1e-3  # OpenVINO's own threads and addresses are not the same every time
    assert abs(first.count.whole.total / second.count.whole.total - 1) <= limit
    assert bool(first.count.functions) == (kernels == "native")
    if kernels == "native":
        assert any(row.name.startswith("multiply<6") and " in " in row.name for row in first.count.functions)
        assert first.count.isa == "neon"


@pytest.mark.slow
@needs_arm
@needs_kernels
def test_a_runtime_chooses_its_kernels_by_the_core(artifacts: Any) -> None:
    path = artifacts["portable", "tflite"]
    large, small_core = (run.count(case_of(path), cores.read(name)).count for name in ("cortex-a76", "cortex-a55"))
    assert large.whole.instructions != small_core.whole.instructions
