"""Everything that runs programs of 64-bit ARM here: ``python -m mfedge.bench.count.setup FOLDER``.

Debian's packages of Python are unpacked, not installed, and apt works in folders of its own; the runtimes' wheels are
those of the versions installed here; the kernels are cross-compiled with line tables. Run again, it compiles what has
changed, and fetches again only if a version has.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from mfedge.bench.count.emulator import KERNELS, PACKAGE, READY, ROOT, SITE
from mfedge.bench.measure.environment import distribution_version
from mfedge.cli import console
from mfedge.errors import MfedgeError, MissingRuntimeError
from mfedge.kernels.find import FILES
from mfedge.runtimes.table import RUNTIMES

TARGET = "aarch64-linux-gnu"
TOOLS = {
    "apt-get": "apt", "dpkg-deb": "dpkg", "cmake": "cmake", "qemu-aarch64": "qemu-user",
    f"{TARGET}-g++": f"g++-{TARGET}", f"{TARGET}-addr2line": f"binutils-{TARGET}", "cc": "gcc",
}  # fmt: skip
PACKAGES = ("python3", "libstdc++6")
OLDEST, NEWEST = 17, 40  # of glibc 2: the wheels' tags that are taken, if the unpacked glibc is so new
MINUTES = 20  # of one step; each takes about half a minute


def main(folder: Path) -> None:
    """Fetch, unpack, compile.

    Raises:
        MissingRuntimeError: a tool is not installed, or a step fails; one line.
    """
    search = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    if missing := sorted({package for tool, package in TOOLS.items() if shutil.which(tool, path=search) is None}):
        raise MissingRuntimeError(f"setup-aarch64: not installed here: apt install {' '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    ready, wanted = folder / READY, "\n".join(_requirements())
    if not ready.is_file() or ready.read_text() != wanted:
        ready.unlink(missing_ok=True)
        _python(folder)
        _wheels(folder, wanted.splitlines())
    _kernels(folder, search)
    ready.write_text(wanted)
    console.note(f"{folder}: {', '.join(wanted.splitlines())}")


def _requirements() -> list[str]:
    """What files need to run, at the versions that are installed here."""
    extras = [row.extra for row in RUNTIMES.values() if row.artifacts and row.extra]
    found = []
    for line in importlib.metadata.requires("mfedge") or ():
        requirement, _, marker = line.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip())[0]
        version = distribution_version(name)
        if version and (not marker or any(f"'{extra}'" in marker.replace('"', "'") for extra in extras)):
            found.append(f"{name}=={version}")
    return sorted(set(found))


def _python(folder: Path) -> None:
    """Debian's Python of the release that this machine has, for ARM."""
    apt, root = folder / "apt", folder / ROOT
    shutil.rmtree(root, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial", "state"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "status").write_text("")
    options = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "", "Debug::NoLocking": "1",
        "Acquire::Languages": "none", "Dir::State": apt / "state", "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status", "Dir::Cache": apt / "cache", "APT::Install-Recommends": "0",
    }  # fmt: skip
    command = [
        "apt-get",
        "--quiet",
        "--yes",
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
    ]
    _run(*command, "update")
    _run(*command, "--download-only", "install", *PACKAGES)
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(root))


def _wheels(folder: Path, requirements: list[str]) -> None:
    """The runtimes' wheels and what they need, for the Python and the glibc that are unpacked."""
    site = folder / SITE
    shutil.rmtree(site, ignore_errors=True)
    (python,) = (folder / ROOT / "usr" / "bin").glob("python3.*[0-9]")
    (libc,) = (folder / "apt" / "cache" / "archives").glob("libc6_*.deb")
    minor = min(NEWEST, int(libc.name.removeprefix("libc6_2.").partition("-")[0]))
    tags = [f"manylinux_2_{i}_aarch64" for i in range(minor, OLDEST - 1, -1)]
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(site),
        "--python-version", python.name.removeprefix("python"), "--only-binary=:all:",
        *(word for tag in (*tags, "manylinux2014_aarch64") for word in ("--platform", tag)), *requirements,
    )  # fmt: skip


def _kernels(folder: Path, search: str) -> None:
    """The native kernels and their bindings, with line tables: which do not change an instruction."""
    build = folder / "build"
    environment = {**os.environ, "PATH": search}
    _run(
        "cmake", "-S", str(PACKAGE / "kernels"), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={TARGET}-g++",
        "-DCMAKE_CXX_FLAGS=-g1", f"-DMFEDGE_LIB={folder / KERNELS}", f"-DMFEDGE_OPENVINO={folder / SITE / 'openvino'}",
        environment=environment,
    )  # fmt: skip
    _run("cmake", "--build", str(build), "--parallel", "2", environment=environment)
    assert (folder / KERNELS / FILES[0].format("kernels")).is_file()


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    """One step; its output is shown if it fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
            stdin=subprocess.DEVNULL, timeout=MINUTES * 60,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MissingRuntimeError(f"setup-aarch64: {command[0]}: not done after {MINUTES} minutes") from None
    if done.returncode:
        for line in done.stdout.splitlines():
            console.note(line)
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no output")
        raise MissingRuntimeError(f"setup-aarch64: {command[0]} failed: {last.strip()[:300]}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).resolve())
    except MfedgeError as error:
        sys.exit(f"error: {error}")
