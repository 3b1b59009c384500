"""Hatchling's build hook: compiles the native kernels when mfedge is installed, and installs without them if it cannot.

`pip install .` puts the libraries into the wheel, which then carries a platform's tag; `pip install -e .` puts them
into mfedge/kernels/lib/. Where that fails, mfedge/kernels/lib/not_built.txt says why, and `mfedge doctor` reads
it. The environment variable MFEDGE_BUILD_NATIVE is "auto" (the default), "off", or "require": then what cannot be built
fails the installation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = "mfedge/kernels"
LIBRARIES = f"{SOURCES}/lib"
SUITES = "mfedge/_data/benchmarks"  # in the wheel, where mfedge/resources.py looks
NOT_BUILT = "not_built.txt"  # as mfedge/cli/doctor.py reads it
COMPILERS = ("c++", "g++", "clang++")  # where CMake looks, if CXX names none
MINUTES = 15  # a build takes half a minute of one core; a hanging compiler must not hang the installation


class NotBuilt(Exception):
    """Why there are no native kernels, in one line."""


class NativeKernels(BuildHookInterface):  # type: ignore[type-arg]  # of a config it does not use
    """The hook; hatchling finds it by its base class."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """What pip has to bring into the isolated build environment: nothing, if there is no compiler to use it."""
        if mode() == "off" or compiler() is None:
            return []
        installed = installed_openvino()
        # The binding is good for one release of OpenVINO: the environment's, else the newest, as pip will install.
        needed = [f"openvino=={installed}" if installed else "openvino>=2025.2"]
        if shutil.which("cmake") is None:
            needed.append("cmake>=3.20")
        if shutil.which("ninja") is None and shutil.which("make") is None:
            needed.append("ninja")
        return needed

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build; into the wheel, or beside the sources if `version` is "editable"."""
        self._folder = tempfile.TemporaryDirectory(prefix="mfedge-native-")
        work = Path(self._folder.name)
        try:
            libraries = build(Path(self.root) / SOURCES, work)
        except NotBuilt as reason:
            if mode() == "require":
                raise SystemExit(f"mfedge: native kernels: {reason}") from None
            self.app.display_warning(f"mfedge: installed without native kernels: {reason}")
            libraries = [work / NOT_BUILT]
            libraries[0].write_text(f"{reason}\n", encoding="utf-8")
        else:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
        if version == "editable":
            replace(Path(self.root) / LIBRARIES, libraries)
            return
        suites = (Path(self.root) / "benchmarks").glob("*.toml")  # and not the results beside them
        included = {**dict.fromkeys(libraries, LIBRARIES), **dict.fromkeys(suites, SUITES)}
        build_data["force_include"].update({str(path): f"{folder}/{path.name}" for path, folder in included.items()})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: its libraries can go."""
        if self._folder is not None:
            self._folder.cleanup()


def mode() -> str:
    """MFEDGE_BUILD_NATIVE."""
    value = os.environ.get("MFEDGE_BUILD_NATIVE") or "auto"
    if value not in ("auto", "off", "require"):
        raise SystemExit(f"MFEDGE_BUILD_NATIVE: expected auto, off or require, found {value}")
    return value


def compiler() -> str | None:
    """The C++ compiler, as CMake will look for it. CXX may have options after the name."""
    chosen = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, (chosen.split()[:1] or [""]) if chosen else COMPILERS)), None)


def installed_openvino() -> str | None:
    """OpenVINO's version in the environment that mfedge goes to, which an isolated build does not see."""
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return next((found.version for found in distributions(name="openvino", path=paths)), None)


def openvino() -> Path | None:
    """The package of OpenVINO that the binding is built against."""
    spec = find_spec("openvino")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        built_against = version("openvino")
    except PackageNotFoundError:
        return None
    if installed_openvino() not in (None, built_against):
        return None  # without build isolation, with another release in front of the environment's
    return Path(next(iter(spec.submodule_search_locations)))


def build(sources: Path, work: Path) -> list[Path]:
    """Configure and compile in `work`.

    Returns:
        The libraries.

    Raises:
        NotBuilt: there is no compiler or no CMake, or one of them failed.
    """
    if mode() == "off":
        raise NotBuilt("switched off by MFEDGE_BUILD_NATIVE=off; reinstall without it")
    if compiler() is None:
        chosen = os.environ.get("CXX")
        found = f"CXX={chosen} is no program" if chosen else f"none of {', '.join(COMPILERS)} is on PATH"
        raise NotBuilt(f"no C++ compiler: {found}; install one (Debian: apt install g++) and reinstall mfedge")
    cmake = shutil.which("cmake")
    if cmake is None:
        raise NotBuilt("no cmake on PATH; install it (pip install cmake) and reinstall mfedge")
    package = openvino()
    configure = [
        cmake, "-S", str(sources), "-B", str(work / "build"), "-DCMAKE_BUILD_TYPE=Release",
        f"-DMFEDGE_LIB={work / 'lib'}", f"-DPython3_EXECUTABLE={sys.executable}",
        *([f"-DMFEDGE_OPENVINO={package}"] if package else []),
        *(["-G", "Ninja"] if shutil.which("ninja") else []),
    ]  # fmt: skip
    # One compiler per core, but not more than there is memory for: each takes about half a GB.
    compile = [cmake, "--build", str(work / "build"), "--parallel", str(min(4, cores()))]
    for what, command in (("configuring", configure), ("compiling", compile)):
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=MINUTES * 60,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotBuilt(f"{what} failed: {error}") from None
        sys.stderr.write(done.stdout)
        if done.returncode:
            raise NotBuilt(f"{what} failed: {blame(done.stdout)}; see `pip install --verbose`")
    return sorted(path for path in (work / "lib").iterdir() if path.is_file())


def blame(output: str) -> str:
    """The line of a compiler's or CMake's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for word in ("error:", "CMake Error"):
        for number, line in enumerate(lines):
            if word in line:
                # CMake's says where; what, is in the next line
                return (f"{line} {lines[number + 1]}" if word != "error:" and number + 1 < len(lines) else line)[:300]
    return lines[-1][:300] if lines else "no output"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def platform_tag() -> str:
    """linux_x86_64 and the like: built here, for here; of the Python only its platform matters."""
    from packaging.tags import platform_tags

    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


def replace(folder: Path, files: list[Path]) -> None:
    """Make `files` the contents of `folder`, each by a rename: a process that has the old one open keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.is_file() and old.name not in {path.name for path in files}:
            old.unlink()
    for path in files:
        staged = folder / f".{path.name}.{os.getpid()}"
        shutil.copy2(path, staged)
        staged.replace(folder / path.name)
