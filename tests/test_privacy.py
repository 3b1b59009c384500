"""No command asks for the network, and none writes outside its output and mfedge's own cache."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.data.images import photograph
from mfedge.formats.table import FORMATS
from mfedge.kernels import find
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.conftest import network
from tests.faults.commands import emulates
from tests.support.no_network import SOCKET

NO_NETWORK = Path(__file__).parent / "support" / "no_network.py"
QUICK = ("--sizes", "64", "--processes", "1", "--budget", "6s", "--within", "50%")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SOCKET, reason="the filter of system calls is Linux's"
)


class User:
    """Somebody whose home is empty."""

    def __init__(self, folder: Path) -> None:
        self.home, self.work, self.temporary = folder / "home", folder / "work", folder / "tmp"
        for place in (self.home, self.work, self.temporary):
            place.mkdir()

    def run(self, *command: object, codes: tuple[int, ...] = (0,)) -> str:
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        environment = {**kept, "HOME": str(self.home), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, NO_NETWORK, *map(str, command)],
            capture_output=True, text=True, cwd=self.work, env=environment, timeout=300,
        )  # fmt: skip
        assert done.returncode in codes, (done.returncode, done.stderr)
        return done.stdout

    def mfedge(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        return self.run(sys.executable, "-m", "mfedge", *arguments, codes=codes)

    def left(self) -> set[str]:
        """Folders and files that were made outside the working folder, without what is below mfedge's cache."""
        found = {str(path.relative_to(self.home)) for path in self.home.rglob("*")}
        found |= {f"tmp/{path.relative_to(self.temporary)}" for path in self.temporary.rglob("*")}
        return {path for path in found if not path.startswith(".cache/mfedge/")}


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    kernels = "portable" if find.find("kernels") is None else "native"
    return export(
        Request.of(load_spec("26m"), tuple(FORMATS), Size(64, 64), kernels=kernels), tmp_path_factory.mktemp("m")
    )


@pytest.mark.parametrize("address", ["AF_INET", "AF_INET6"])
def test_the_filter_forbids_the_network(address: str, user: User) -> None:
    attempt = f"import socket; socket.socket(socket.{address}, socket.SOCK_DGRAM)"
    with pytest.raises(AssertionError, match="-31"):  # SIGSYS
        user.run(sys.executable, "-c", attempt)
    user.run(sys.executable, "-c", "import socket; socket.socketpair()")


def test_export(user: User) -> None:
    formats = [word for name in FORMATS for word in ("--format", name)]
    user.mfedge("export", "--variant", "26m", *formats, "--size", "64")
    assert user.left() <= {".cache", ".cache/mfedge"}


def test_weights(user: User) -> None:
    torch.save(network("26m").state_dict(), user.work / "weights.pth")
    user.mfedge("weights", "convert", "weights.pth", "weights.safetensors")
    user.mfedge("export", "--variant", "26m", "--format", "onnx", "--size", "64", "--weights", "weights.pth")
    assert user.left() <= {".cache", ".cache/mfedge"}


@pytest.mark.parametrize("name", FORMATS)
def test_verify_predict_profile_and_gate(name: str, artifacts: list[Path], user: User) -> None:
    (artifact,) = (path for path in artifacts if f"-{name}" in path.name)
    user.mfedge("verify", artifact)
    user.mfedge("predict", artifact, photograph())
    user.mfedge("profile", artifact, "--runs", "3", "--output", "profile")
    user.mfedge("gate", artifact, artifact, "--figures-only")
    assert user.left() <= {".cache", ".cache/mfedge"}


@pytest.mark.skipif(not emulates(), reason="no emulator here")
def test_count(artifacts: list[Path], user: User) -> None:
    (artifact,) = (path for path in artifacts if "-onnx" in path.name)
    user.mfedge("count", artifact, "--on", "avx2", "--output", "counts")
    assert user.left() <= {".cache", ".cache/mfedge"}


def test_bench_report_compare_info_and_doctor(artifacts: list[Path], user: User) -> None:
    user.mfedge(
        "bench", "--models", f"26m,{artifacts[0]}", "--runtimes", "onnxruntime,torch", *QUICK, "--output", "out"
    )
    user.mfedge("report", "out/result.json")
    user.mfedge("compare", "out/result.json", "out/result.json", codes=(0, 2))  # 2: too few rounds to compare
    user.mfedge("info")
    user.mfedge("doctor")
    assert user.left() == {".cache", ".cache/mfedge"}
    user.mfedge("doctor", "--clear-cache")
    assert user.left() == {".cache"}
    assert sorted(path.name for path in user.work.iterdir()) == ["out"]
