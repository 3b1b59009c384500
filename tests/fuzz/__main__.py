"""``python -m tests.fuzz --minutes 30``: run every kind of input for that long, and keep what fails."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import Pool, repeat, table

KEPT = Path(__file__).parents[2] / "build" / "fuzz"


def main() -> int:
    """The exit code: 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--cases", type=int, help="of each kind, instead of a time")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="give it again for several; default all")
    parser.add_argument("--seed", type=int, default=None, help="of the first case of each kind; by default the clock's")
    asked = parser.parse_args()
    if asked.minutes is None and asked.cases is None:
        parser.error("expected --minutes or --cases")
    seed = int(time.time()) * 1_000_000 if asked.seed is None else asked.seed
    kinds = list(dict.fromkeys(asked.kind or KINDS))
    start = shown = time.monotonic()

    def progress() -> None:
        nonlocal shown
        if time.monotonic() - shown < 1:
            return
        shown = time.monotonic()
        tallies = pool.tallies.values()
        cases, found = sum(tally.cases for tally in tallies), sum(len(tally.findings) for tally in tallies)
        line = f"{shown - start:6.0f} s, {cases:,} cases, {found} faults"
        print(f"\r{line}" if sys.stderr.isatty() else line, end="" if sys.stderr.isatty() else "\n", file=sys.stderr)

    pool = Pool(kinds, seed, KEPT, progress, slots=1 if asked.cases == 1 else 2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        pool.run(None if asked.minutes is None else asked.minutes * 60, asked.cases)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    print(f"\nseed {seed}, {time.monotonic() - start:.0f} s\n{table(pool.tallies)}")
    faults = [(name, outcomes) for tally in pool.tallies.values() for name, outcomes in tally.findings.items()]
    for signature, outcomes in faults:
        first = outcomes[0]
        came = next(came for came in first.came if came.signature == signature)
        print(f"\n{signature}\n  {came.message}\n  after: {first.note}\n  {repeat(first)}")
    if faults:
        print(f"\n{len(faults)} faults; their files are in {KEPT}")
    elif KEPT.is_dir() and not any(KEPT.iterdir()):
        shutil.rmtree(KEPT)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
