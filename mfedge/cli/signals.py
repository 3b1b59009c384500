"""Ctrl-C, SIGTERM and SIGHUP: one path, on which what is half done is removed and the exit code is 128 + the signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

received: int | None = None  # the signal that ends this run


class Interrupted(KeyboardInterrupt):
    """Raised wherever the command is, so that its `finally` blocks run. Commands that keep what they have catch it."""


def end_at_once() -> None:
    """While nothing is half done: before the command begins, and after it has ended."""
    _handle(lambda number, frame: os._exit(128 + number))


def unwind() -> None:
    """While a command runs. A second signal does not interrupt the clearing up after the first."""
    _handle(_raise)


def _handle(action: Callable[[int, FrameType | None], None]) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last one is not known to Windows
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, action)


def _raise(number: int, frame: FrameType | None) -> None:
    global received
    if received is None:
        received = number
        raise Interrupted
