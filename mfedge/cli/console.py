"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

RANDOM_WEIGHTS = "warning: no checkpoint: the network has random weights (seed 0); measure with it, never ship it"


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    json.dump(data, sys.stdout, indent=2)
    sys.stdout.write("\n")


def note(message: str) -> None:
    """One line on stderr."""
    print(message, file=sys.stderr)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done: a spinner on a terminal, lines with times in a log."""
    import time

    from rich.console import Console

    console = Console(stderr=True)
    start = time.monotonic()

    def elapsed() -> str:
        return f"{time.monotonic() - start:5.1f} s"

    if not console.is_terminal:
        yield lambda message: note(f"[{elapsed()}] {message}")
        return
    with console.status("starting") as status:

        def show(message: str) -> None:
            status.update(f"[dim]{elapsed()}[/] {message}")
            if message.endswith(": done"):
                console.print(f"[dim]{elapsed()}[/] {message}")

        yield show
