"""Servers side by side, the outcomes that they answer, and what is kept of them."""

from __future__ import annotations

import collections
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mfedge.errors import Exit
from mfedge.workers.process import Death, Limits, Process
from tests.fuzz.case import Outcome

KEPT = 3  # inputs of findings of one signature
SLICE = 10.0  # seconds that a slot works at one kind before it turns to the next


class Tally:
    """What came of the cases of one kind."""

    def __init__(self) -> None:
        self.cases = 0
        self.came: Counter[str] = Counter()  # "accepted", "6", "died", "finding"
        self.findings: dict[str, list[Outcome]] = collections.defaultdict(list)

    def add(self, outcome: Outcome) -> bool:
        """Count an outcome; whether it has a finding."""
        self.cases += 1
        found = False
        for came in outcome.came:
            self.came[str(came.code) if came.status == "refused" else came.status] += 1
            if came.status == "finding":
                found = True
                if len(self.findings[came.signature]) < KEPT:
                    self.findings[came.signature].append(outcome)
        return found


class Pool:
    """Two slots, each with a server per kind that it works at."""

    def __init__(
        self, kinds: Sequence[str], seed: int, kept: Path, progress: Callable[[], None] = lambda: None, slots: int = 2
    ) -> None:
        """
        Args:
            kinds: names.
            seed: of the first case of each kind.
            kept: the folder for the files of findings.
            progress: called after each case.
            slots: servers that run at the same time.
        """
        self.tallies = {kind: Tally() for kind in kinds}
        self._kinds, self._seed, self._kept, self._progress = kinds, seed, kept, progress
        self._next: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._slots, self._stopped = slots, False
        self._errors: list[BaseException] = []

    def run(self, seconds: float | None = None, cases: int | None = None) -> None:
        """Run until the time is over, or each kind has had so many cases."""
        end = None if seconds is None else time.monotonic() + seconds
        threads = [threading.Thread(target=self._slot, args=(i, end, cases), daemon=True) for i in range(self._slots)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._stopped = True  # each ends after its case, and removes its files
            for thread in threads:
                thread.join()
            raise
        if self._errors:
            raise self._errors[0]

    def _slot(self, slot: int, end: float | None, cases: int | None) -> None:
        turns = collections.deque(self._kinds)
        turns.rotate(-slot * len(self._kinds) // self._slots)
        servers: dict[str, _Server] = {}
        try:
            while turns and not self._stopped and (end is None or time.monotonic() < end):
                kind = turns[0]
                turns.rotate(-1)
                until = min(time.monotonic() + SLICE, end or float("inf"))
                while time.monotonic() < until:
                    seed = self._take(kind, cases)
                    if seed is None:
                        turns.remove(kind)
                        break
                    if kind not in servers:
                        servers[kind] = _Server(kind)
                    self._add(servers[kind].case(seed))
        except BaseException as error:  # a thread's own end is nobody's to see
            self._errors.append(error)
        finally:
            for server in servers.values():
                server.close()

    def _take(self, kind: str, cases: int | None) -> int | None:
        with self._lock:
            number = self._next[kind]
            if self._errors or self._stopped or (cases is not None and number >= cases):
                return None
            self._next[kind] += 1
            return self._seed + number

    def _add(self, outcome: Outcome) -> None:
        with self._lock:
            found = self.tallies[outcome.kind].add(outcome)
        if found:
            place = self._kept / f"{outcome.kind}-{outcome.seed}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(outcome.folder, place, symlinks=True, ignore=_odd, dirs_exist_ok=True)
            (place / "finding.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
            (place / "repeat.sh").write_text(f"{repeat(outcome)}\n")
        shutil.rmtree(outcome.folder, ignore_errors=True)
        self._progress()


class _Server:
    """The parent's side of one `tests.fuzz.server`, in a folder of its own that goes with it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._folder = tempfile.TemporaryDirectory(prefix="mfedge-fuzz-")
        self._process = Process("tests.fuzz.server", (kind, self._folder.name), Limits(seconds=300), {})
        try:
            assert self._process.receive() == b"ready"
        except Death as death:
            raise RuntimeError(f"{kind}: the server {death.reason}") from None

    def case(self, seed: int) -> Outcome:
        try:
            self._process.send(str(seed).encode())
            return msgspec.json.decode(self._process.receive(), type=Outcome)
        except Death as death:
            raise RuntimeError(f"{self._kind}: seed {seed}: the server {death.reason}") from None

    def close(self) -> None:
        self._process.close()
        self._folder.cleanup()


def _odd(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: pipes, devices, files of sizes that are not theirs."""
    return [
        name
        for name in names
        if not (path := Path(folder) / name).is_symlink()
        and not path.is_dir()
        and (not path.is_file() or path.stat().st_size > 64 << 20)
    ]


def repeat(outcome: Outcome) -> str:
    """The command that runs a case again."""
    return f"python -m tests.fuzz --kind {outcome.kind} --seed {outcome.seed} --cases 1"


def table(tallies: dict[str, Tally]) -> str:
    """A row per kind: cases, and what came of their calls."""
    codes = sorted({code for tally in tallies.values() for code in tally.came if code.isdigit()}, key=int)
    columns = ["cases", "accepted", *codes, "died", "finding"]
    titles = ["cases", "accepted", *(f"refused, {Exit.of(int(code)).name.lower()}" for code in codes)]
    titles += ["died in a library", "findings"]
    rows = [["kind", *titles]]
    for kind, tally in tallies.items():
        counts = {**tally.came, "cases": tally.cases}
        rows.append([kind, *(f"{counts.get(column, 0):,}" for column in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
