"""A Python process on an emulated core, under the plugin: what has to be there, and the command that starts it.

x86-64 runs this installation. For 64-bit ARM, `make setup-aarch64` has put a Python, the runtimes' wheels and the
native kernels into build/aarch64; MFEDGE_AARCH64 names another folder.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from mfedge import files
from mfedge.bench.count.cores import Core
from mfedge.errors import MissingRuntimeError, UsageError
from mfedge.kernels import find
from mfedge.workers.process import MODULES, PARENT

PACKAGE = Path(__file__).resolve().parents[2]
PLUGIN = Path(__file__).with_name("plugin.c")
SETUP = "run `make setup-aarch64` in a checkout of mfedge"
ROOT, SITE, KERNELS, READY = "root", "site", "kernels", "ready"  # in the folder that it makes
SEED = 1  # of what the system gives a program for random at its start
TOOLS = {"cc": "gcc", "prlimit": "util-linux"}  # program → Debian package
HARDWARE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


class Emulator(Struct, frozen=True):
    """A command that runs Python on an emulated core, and where the plugin writes."""

    interpreter: tuple[str, ...]
    counted: Path  # the plugin's file
    version: str  # of QEMU


def folder() -> Path:
    """Where the parts for 64-bit ARM are."""
    return Path(os.environ.get("MFEDGE_AARCH64") or PACKAGE.parent / "build" / "aarch64").resolve()


@contextmanager
def emulator(core: Core, address_space: int) -> Iterator[Emulator]:
    """The plugin compiled, and everything in place that a program of this core sees of its system.

    The environment is empty but for what is set here, so that neither its length nor its contents change a count.

    Args:
        core: to emulate.
        address_space: bytes that the emulator may take.

    Raises:
        MissingRuntimeError: something is not installed; one line says what to do.
        UsageError: this machine does not run programs of that architecture.
    """
    qemu = f"qemu-{core.architecture}"
    needed = {**TOOLS, qemu: "qemu-user"}
    if missing := sorted({package for program, package in needed.items() if shutil.which(program) is None}):
        raise MissingRuntimeError(f"count: not installed here: apt install {' '.join(missing)}")
    with files.scratch() as work:
        (work / "package").mkdir()
        (work / "package" / PACKAGE.name).symlink_to(PACKAGE)
        python, site, kernels, options = _aarch64(core, work) if core.architecture == "aarch64" else _x86_64(core)
        environment = {
            "PYTHONPATH": os.pathsep.join(map(str, (work / "package", *site))),
            **MODULES,
            PARENT: f"{os.getpid():010}",  # always as long
            "PYTHONHASHSEED": "0",
            "MFEDGE_NATIVE_LIB": str(kernels),
            "HOME": str(work),
            "OMP_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        counted = work / "counted"
        yield Emulator(
            (
                "env", "-i", *(f"{name}={value}" for name, value in environment.items()),
                str(shutil.which("prlimit")), f"--as={address_space}", "--core=0",
                str(shutil.which(qemu)), "-cpu", core.emulated, "-seed", str(SEED),
                "-plugin", compiled_plugin(core, work, counted), *options, str(python), "-B",
            ),
            counted,
            _version(qemu),
        )  # fmt: skip


def compiled_plugin(core: Core, work: Path, counted: Path) -> str:
    """The plugin as qemu's option names it, compiled in a moment."""
    library, caches = work / "plugin.so", core.caches
    command = ["cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", str(PLUGIN), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise MissingRuntimeError(f"count: cc cannot compile {PLUGIN.name}: {(done.stderr.splitlines() or ['?'])[0]}")
    levels = (f"{name}={level.kib}K:{level.ways}" for name, level in (("l1", caches.l1), ("l2", caches.l2)))
    return ",".join((str(library), f"out={counted}", f"line={caches.line}", *levels))


def _x86_64(core: Core) -> tuple[Path, list[Path], Path, list[str]]:
    """Python, PYTHONPATH, the native kernels and qemu's options: those of this process."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise UsageError(f"count: {core.title} is counted on x86-64 machines, found {platform.machine()}")
    return Path(sys.executable), [], find.folder(), []


def _aarch64(core: Core, work: Path) -> tuple[Path, list[Path], Path, list[str]]:
    """As `_x86_64`, from the folder that `make setup-aarch64` fills."""
    parts = folder()
    if not (parts / READY).is_file():
        raise MissingRuntimeError(f"count: no Python for 64-bit ARM in {parts}; {SETUP}")
    sources = [path for path in (PACKAGE / "kernels").glob("*/*") if path.suffix in (".cpp", ".h", ".inc", ".cmake")]
    if any(path.stat().st_mtime > (parts / READY).stat().st_mtime for path in sources):
        raise MissingRuntimeError(f"count: the kernels in {parts} are older than their sources; {SETUP}")
    python = next(iter(sorted((parts / ROOT / "usr" / "bin").glob("python3.*[0-9]"))))
    system = work / "system"
    system.mkdir()
    for entry in (parts / ROOT).iterdir():
        (system / entry.name).symlink_to(entry)
    describe(core, system)
    return python, [parts / SITE], parts / KERNELS, ["-L", str(system)]


def describe(core: Core, system: Path) -> None:
    """The files of a system by which runtimes find out what core they are on; it has as many as this machine."""
    assert core.midr is not None
    midr = core.midr
    fields = {
        "BogoMIPS": "100.00",
        "Features": HARDWARE,
        "CPU implementer": f"{midr >> 24:#04x}",
        "CPU architecture": "8",
        "CPU variant": f"{midr >> 20 & 15:#x}",
        "CPU part": f"{midr >> 4 & 0xFFF:#05x}",
        "CPU revision": str(midr & 15),
    }
    block = "".join(f"{name}\t: {value}\n" for name, value in fields.items())
    processors = range(os.cpu_count() or 1)
    (system / "proc").mkdir()
    (system / "proc" / "cpuinfo").write_text("".join(f"processor\t: {i}\n{block}\n" for i in processors))
    for i in processors:
        register = system / "sys" / "devices" / "system" / "cpu" / f"cpu{i}" / "regs" / "identification" / "midr_el1"
        register.parent.mkdir(parents=True)
        register.write_text(f"{midr:#018x}\n")


def _version(qemu: str) -> str:
    """Of the emulator: "7.2.22"."""
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True, timeout=20).stdout
    found = re.search(r"version ([0-9.]+)", said)
    return found[1] if found else "unknown"
