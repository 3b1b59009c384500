"""How many threads of a worker really use the CPU, read from the OS while it runs.

A pool that exists but sleeps is no violation; a second thread that computes is, even if both are pinned to
one CPU and merely take turns. So it is CPU time that is counted, not threads.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

BUSY_SHARE = 0.05  # of the process's CPU time, from which a thread counts as busy
JUDGED_FROM = 0.15  # seconds of CPU time below which nothing can be said
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Usage(Struct, frozen=True):
    """CPU seconds so far."""

    total: float  # of the process, threads that have ended included
    threads: dict[int, float]  # of those alive


def usage(pid: int) -> Usage | None:
    """CPU time of a process and its threads, or None where /proc does not tell or the process is gone."""
    try:
        threads = {}
        for task in Path(f"/proc/{pid}/task").iterdir():
            threads[int(task.name)] = _seconds(task)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Usage((int(fields[11]) + int(fields[12])) / TICKS, threads)
    except (OSError, ValueError, IndexError):
        return None


def busy(before: Usage, after: Usage) -> int | None:
    """How many threads computed between two readings; None if too little was computed to say.

    Time of threads that lived only between the readings counts as one more thread.
    """
    spent = {thread: seconds - before.threads.get(thread, 0.0) for thread, seconds in after.threads.items()}
    known = sum(spent.values())
    if known < JUDGED_FROM:
        return None
    count = sum(seconds > BUSY_SHARE * known for seconds in spent.values())
    ended = (after.total - before.total) - known
    return count + (ended > max(2 * BUSY_SHARE * known, 6 / TICKS))


def memory(pid: int) -> tuple[int, int] | None:
    """Resident memory now and at its peak, bytes, or None."""
    try:
        lines = dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _seconds(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
