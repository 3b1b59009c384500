"""The command line: one module per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys

from mfedge import cache
from mfedge.cli import signals


def main() -> None:
    """Entry point of the console script."""
    signals.end_at_once()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the rest of the process
    cache.redirect()
    from mfedge.cli.main import run

    run()
