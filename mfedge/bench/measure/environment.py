"""The machine a result was measured on, before and after: enough to tell whether two results may be compared."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from mfedge.bench.stored import Count, Number, Seconds, Text
from mfedge.errors import UsageError
from mfedge.formats.table import FORMATS
from mfedge.runtimes.table import RUNTIMES

ISA = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)
PROBE_STEPS = 20_000
CLOCK_LIMIT = 1.25  # slowest over fastest probe beyond which the result says so in its first line
LOAD_LIMIT = 0.35  # load average a CPU, of others, beyond which it says so too
STEAL_LIMIT = 0.02  # share of time the hypervisor gave to somebody else


class Moment(Struct, frozen=True):
    """What changes while one measures."""

    load1: Number | None  # load average of the last minute, processes
    clock_mhz: Number | None  # as the kernel reports it for the measured CPU; constant on most virtual machines
    probe_seconds: Seconds  # a fixed piece of work on the measured CPU: the clock as it really is; fastest of five
    steal_seconds: Number | None  # since boot, all CPUs
    busy_seconds: Number | None  # since boot, all CPUs, other processes included


class Environment(Struct, frozen=True):
    """The machine and its software. Nothing here names a user, a host or a path."""

    system: Text
    kernel: Text
    machine: Text
    cpu: Text
    isa: Annotated[tuple[Text, ...], Meta(max_length=1000)]
    cpus: Annotated[int, Meta(ge=1, le=1 << 20)]
    governor: Text | None  # None: not exposed, as in a virtual machine
    hypervisor: bool
    memory_bytes: Count
    affinity: Annotated[tuple[int, ...], Meta(max_length=10_000)]  # CPUs this process may use
    measured_cpu: int | None
    cgroup_cpus: Number | None  # CPU quota of the container; None: unlimited
    cgroup_memory_bytes: Count | None
    python: Text
    mfedge: Text
    libraries: Annotated[dict[Text, Text], Meta(max_length=1000)]

    def differences(self, other: Environment) -> list[str]:
        """One line for every reason not to compare milliseconds with those measured in `other`."""
        compared = (
            "system",
            "machine",
            "cpu",
            "isa",
            "cpus",
            "governor",
            "memory_bytes",
            "cgroup_cpus",
            "cgroup_memory_bytes",
        )
        lines = [
            f"{field}: {_short(getattr(self, field))} and {_short(getattr(other, field))}"
            for field in compared
            if getattr(self, field) != getattr(other, field)
        ]
        for name in sorted(self.libraries.keys() | other.libraries.keys()):
            mine, theirs = self.libraries.get(name, "absent"), other.libraries.get(name, "absent")
            if mine != theirs:
                lines.append(f"{name}: {mine} and {theirs}")
        return lines


def capture(cpu: int | None) -> Environment:
    """The machine as it is now; `cpu` is the one the workers are pinned to."""
    import psutil

    from mfedge import __version__

    info = _cpuinfo()
    flags = set(cpu_flags().split())
    return Environment(
        system=platform.system(),
        kernel=platform.release(),
        machine=platform.machine(),
        cpu=info.get("model name") or info.get("Hardware") or platform.processor() or platform.machine(),
        isa=tuple(name for name in ISA if name in flags),
        cpus=os.cpu_count() or 1,
        governor=_read(f"/sys/devices/system/cpu/cpu{cpu or 0}/cpufreq/scaling_governor"),
        hypervisor="hypervisor" in flags,
        memory_bytes=psutil.virtual_memory().total,
        affinity=tuple(sorted(affinity())),
        measured_cpu=cpu,
        cgroup_cpus=_cgroup_cpus(),
        cgroup_memory_bytes=_cgroup_memory(),
        python=platform.python_version(),
        mfedge=__version__,
        libraries=libraries(),
    )


def libraries() -> dict[str, str]:
    """The version of everything that has a hand in a measured file or in its execution, where it is installed."""
    named = ["numpy", *(row.distribution for row in RUNTIMES.values())]
    named += [name for row in FORMATS.values() for name in row.libraries]
    return {name: version for name in dict.fromkeys(named) if (version := distribution_version(name))}


def cpu_flags() -> str:
    """Instruction sets as the kernel names them, a space between."""
    info = _cpuinfo()
    return info.get("flags") or info.get("Features") or ""


def moment(cpu: int | None) -> Moment:
    """Load and speed now. Takes about 30 ms on the measured CPU."""
    steal = busy = None
    if stat := _read("/proc/stat"):
        ticks = [int(value) for value in stat.splitlines()[0].split()[1:]]
        hertz = os.sysconf("SC_CLK_TCK")
        steal = ticks[7] / hertz if len(ticks) > 7 else None
        busy = (sum(ticks[:3]) + sum(ticks[5:8])) / hertz
    return Moment(
        load1=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        clock_mhz=_clock(cpu),
        probe_seconds=probe(cpu),
        steal_seconds=steal,
        busy_seconds=busy,
    )


def probe(cpu: int | None, repeats: int = 5) -> float:
    """Seconds for a fixed loop of dependent integer steps on `cpu`: fastest of `repeats`."""
    with pinned(cpu):
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            value = 1
            for _ in range(PROBE_STEPS):
                value = (value * 5 + 1) & 0xFFFF
            best = min(best, time.perf_counter() - start)
    return best


def unrest(before: Moment, after: Moment, seconds: float, cpus: int) -> list[str]:
    """What moved too much between two moments, a line each; empty when the machine was calm."""
    lines = []
    slow, fast = max(before.probe_seconds, after.probe_seconds), min(before.probe_seconds, after.probe_seconds)
    if slow / fast > CLOCK_LIMIT:
        faster = "slower" if after.probe_seconds > before.probe_seconds else "faster"
        lines.append(f"the CPU was {slow / fast:.2f}× {faster} at the end than at the start")
    others = None if before.load1 is None else max(0.0, before.load1) / cpus
    if others is not None and others > LOAD_LIMIT:
        lines.append(f"the load average was {before.load1:.1f} on {cpus} CPUs before it began")
    if before.steal_seconds is not None and after.steal_seconds is not None and seconds > 0:
        stolen = (after.steal_seconds - before.steal_seconds) / (seconds * cpus)
        if stolen > STEAL_LIMIT:
            lines.append(f"the hypervisor took {stolen:.0%} of the CPU time")
    return lines


def affinity() -> set[int]:
    """CPUs this process may use; all of them where the system cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """This thread on one CPU for a while; where that is not possible, as it is."""
    if cpu is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def avoiding(cpu: int | None) -> Iterator[None]:
    """This thread on any CPU but the one being measured, if there is another."""
    before = affinity()
    others = before - {cpu}
    if cpu is None or not others or not hasattr(os, "sched_setaffinity"):
        yield
        return
    try:
        os.sched_setaffinity(0, others)
        yield
    finally:
        os.sched_setaffinity(0, before)


def default_cpu() -> int | None:
    """The last CPU this process may use, as the first ones serve most interrupts; None where nothing can be pinned."""
    return max(affinity()) if hasattr(os, "sched_setaffinity") else None


def chosen_cpu(cpu: int | None) -> int | None:
    """The CPU to measure on: the one asked for, else the default.

    Raises:
        UsageError: this process may not use it.
    """
    if cpu is not None and cpu not in affinity():
        raise UsageError(f"--cpu {cpu}: expected one of {', '.join(map(str, sorted(affinity())))}")
    return default_cpu() if cpu is None else cpu


def _short(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    lines = (line.partition(":") for line in (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def _clock(cpu: int | None) -> float | None:
    if khz := _read(f"/sys/devices/system/cpu/cpu{cpu or 0}/cpufreq/scaling_cur_freq"):
        return int(khz) / 1000
    for block in (_read("/proc/cpuinfo") or "").split("\n\n"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if fields.get("processor") == str(cpu or 0) and "cpu MHz" in fields:
            return float(fields["cpu MHz"])
    return None


def distribution_version(distribution: str) -> str | None:
    """Of an installed package, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cgroups(controller: str) -> list[Path]:
    """The directories of this process's group and its parents for a controller, in both versions of cgroups."""
    found = []
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        roots = [Path("/sys/fs/cgroup")] if not names else [Path("/sys/fs/cgroup") / name for name in names.split(",")]
        if names and controller not in names.split(","):
            continue
        for root in roots:
            group = root / path.lstrip("/")
            found += [group, *(parent for parent in group.parents if root in parent.parents or parent == root)]
    return found


def _cgroup_cpus() -> float | None:
    limits = []
    for group in _cgroups("cpu"):
        if (text := _read(str(group / "cpu.max"))) and not text.startswith("max"):
            quota, period = text.split()
            limits.append(int(quota) / int(period))
        quota_v1, period_v1 = _read(str(group / "cpu.cfs_quota_us")), _read(str(group / "cpu.cfs_period_us"))
        if quota_v1 and period_v1 and int(quota_v1) > 0:
            limits.append(int(quota_v1) / int(period_v1))
    return min(limits, default=None)


def _cgroup_memory() -> int | None:
    limits = []
    for group in _cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(str(group / name))
            if text and text.isdigit() and int(text) < 1 << 60:  # version 1 writes "no limit" as a huge number
                limits.append(int(text))
    return min(limits, default=None)


def out_of_memory_kills() -> int | None:
    """How many processes the kernel has killed in this container for lack of memory; None where it does not say."""
    for group in _cgroups("memory"):
        for name in ("memory.events", "memory.oom_control"):
            for line in (_read(str(group / name)) or "").splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return None
