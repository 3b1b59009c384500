"""The command line: one module per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

from mfedge import cache
from mfedge.cli import signals


def main() -> None:
    """Entry point of the console script."""
    signals.end_at_once()
    cache.redirect()
    from mfedge.cli.main import run

    run()
