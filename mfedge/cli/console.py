"""Where output goes: data to stdout, everything else to stderr. Nothing else in mfedge prints.

Every line may hold somebody else's text, so each is made printable here, on its way out (mfedge/text.py).
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from mfedge.text import line as printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

RANDOM_WEIGHTS = "warning: no checkpoint: the network has random weights (seed 0); measure with it, never ship it"
WIDTH_IN_A_PIPE = 140  # columns of a table; rich would take 80 and cut names


def out(line: str) -> None:
    """One line of data on stdout."""
    print(printable(line), file=_stream(sys.stdout))


def note(line: str) -> None:
    """One line on stderr. That it cannot be written is no reason for a command to end otherwise."""
    with suppress(OSError, ValueError):
        print(printable(line), file=_stream(sys.stderr), flush=True)


def error(message: str) -> None:
    """The one line that says why a command ends."""
    note(f"error: {message}")


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    json.dump(data, sys.stdout, indent=2)
    sys.stdout.write("\n")


def flush() -> None:
    """Hand on what is buffered.

    Raises:
        OSError: the disk or pipe that it goes to does not take it.
    """
    sys.stdout.flush()
    with suppress(OSError, ValueError):
        sys.stderr.flush()


def document(data: bytes) -> None:
    """A document on stdout byte by byte: JSON or Markdown, whose foreign text was made safe when it was written."""
    sys.stdout.buffer.write(data)


def table(drawn: Table) -> None:
    """A table on stdout."""
    rich(sys.stdout).print(drawn)


def rich(stream: TextIO) -> Console:
    """What draws tables and the live display on `stream`. A string that it is given is text, never markup."""
    from rich.console import Console  # takes 50 ms, which only a command that draws has to wait for

    class Safe(Console):
        """Makes every string printable before it is measured and drawn."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    width = None if stream.isatty() else WIDTH_IN_A_PIPE
    return Safe(file=_stream(stream), width=width, markup=False, emoji=False, highlight=False)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done: a spinner on a terminal, lines with times in a log."""
    import time

    start = time.monotonic()

    def timed(message: str) -> str:
        return f"[{time.monotonic() - start:5.1f} s] {message}"

    if not sys.stderr.isatty():
        yield lambda message: note(timed(message))
        return
    from rich.styled import Styled

    console = rich(sys.stderr)
    with console.status(Styled("starting", "none")) as status:

        def show(message: str) -> None:
            status.update(Styled(timed(message), "none"))  # a bare string would be taken for markup
            if message.endswith(": done"):
                console.print(timed(message))

        yield show


def _stream(stream: TextIO) -> TextIO:
    """The stream, told to spell a character that its encoding does not have: × in a log of ASCII."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
