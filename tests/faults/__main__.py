"""``python -m tests.faults --moments 200``: break every command many times and print what was left."""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.faults import inject
from tests.faults.commands import COMMANDS, Command, World
from tests.faults.inject import Broken, Whole

DISKS = {errno.ENOSPC: "disk full", errno.EROFS: "disk turned read-only", errno.EIO: "one failed operation"}

Break = Callable[[World], Broken]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=20, help="of every signal, over all commands")
    parser.add_argument("--disks", type=int, default=20, help="operations of each command that every error is tried at")
    parser.add_argument("--command", choices=[command.name for command in COMMANDS], action="append")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    commands = [command for command in COMMANDS if not chosen.command or command.name in chosen.command]
    missing = inject.compile_disk()
    if missing:
        print(f"without failing disks: {missing}", file=sys.stderr)
    broken = []
    with tempfile.TemporaryDirectory() as place:
        made = World.made(Path(place) / "made")
        wholes = {command: inject.undisturbed(command, made.copy(Path(place) / command.name)) for command in commands}
        tries = list(signals(wholes, chosen.moments, random.Random(chosen.seed)))
        if missing is None:
            tries += disks(wholes, chosen.disks, random.Random(chosen.seed))
        tries += others(wholes)
        for number, result in enumerate(run(tries, made, Path(place))):
            broken.append(result)
            print(f"\r{number + 1} of {len(tries)}", end="", file=sys.stderr)
            for wrong in result.wrong:
                print(f"\r{result.command}, {result.fault}: {wrong}", file=sys.stderr)
    print("\n".join(table(broken)))
    return int(any(result.wrong for result in broken))


def signals(wholes: dict[Command, Whole], moments: int, generator: random.Random) -> Iterator[Break]:
    """Each signal at random moments, shared among the commands."""
    for number in (*inject.SIGNALS, inject.signal.SIGKILL):
        for index in range(moments):
            command = list(wholes)[index % len(wholes)]
            moment = generator.uniform(0, wholes[command].seconds * 1.05)
            yield partial(inject.interrupted, command, whole=wholes[command], number=number, moment=moment)


def disks(wholes: dict[Command, Whole], most: int, generator: random.Random) -> Iterator[Break]:
    """Each error at every operation of a command, or at so many of them."""
    for command, whole in wholes.items():
        places = range(whole.operations)
        for error in inject.ERRORS if command.units else ():
            for after in sorted(generator.sample(places, min(most, len(places)))):
                yield partial(inject.failed, command, whole=whole, error=error, after=after)


def others(wholes: dict[Command, Whole]) -> Iterator[Break]:
    """Few open files, and two commands at once."""
    for command, whole in wholes.items():
        for most in (8, 12, 24, 48):
            yield partial(inject.starved, command, whole=whole, most=most)
        if command.units:
            yield partial(inject.crowded, command, whole=whole)


def run(tries: list[Break], made: World, place: Path) -> Iterator[Broken]:
    """Each in a world of its own, two at a time."""

    def one(index: int) -> Broken:
        world = made.copy(place / f"world-{index}")
        try:
            return tries[index](world=world)
        finally:
            shutil.rmtree(world.folder)

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(one, range(len(tries)))


def table(broken: list[Broken]) -> Iterator[str]:
    """Markdown: how often each kind of fault was injected into a command, what was left, and what was wrong."""
    yield "| fault | command | times | as before | whole | some of several | wrong |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    kinds: dict[tuple[str, str], list[Broken]] = {}
    for result in broken:
        kinds.setdefault((kind(result.fault), result.command), []).append(result)
    for (fault, command), results in kinds.items():
        left = Counter(result.left for result in results)
        wrong = sum(bool(result.wrong) for result in results)
        yield (
            f"| {fault} | {command} | {len(results)} | {left['before']} | {left['after']} | {left['both']} | {wrong} |"
        )


def kind(fault: str) -> str:
    """A fault without its moment or operation."""
    words = {errno.errorcode[error]: text for error, text in DISKS.items()}
    first = fault.split()[0]
    return words.get(first, first if first.startswith("SIG") else fault)


if __name__ == "__main__":
    sys.exit(main())
