"""The live display on standard error: what is measured, the interval so far, the time left.

Drawn between visits only, by the process that is not being measured: no thread of its own refreshes it.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.styled import Styled
from rich.table import Table

from mfedge.bench import quantities
from mfedge.bench.measure.rounds import Progress
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.schema import CaseResult


class Display:
    """A listener for `rounds.Run`; a context manager. Without a terminal it writes one line per size."""

    def __init__(self, console: Console, reference: str | None) -> None:
        """
        Args:
            console: to draw on; it takes every string for text, never for markup (mfedge/cli/console.py).
            reference: the model that ratios are taken to.
        """
        self._console = console
        self._reference = reference
        self._live: Live | None = None
        self._last: object = None

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Redraw; without a terminal, one line at the start of each size."""
        if self._live:
            self._live.update(self._draw(progress), refresh=True)
        elif (progress.size, progress.process) != self._last:
            left = quantities.clock(progress.seconds_left)
            self._console.print(f"{_where(progress)}, {left} left")
        self._last = progress.size, progress.process

    def note(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, style="yellow", soft_wrap=True)

    def _draw(self, progress: Progress) -> Group:
        left = quantities.clock(progress.seconds_left)
        head = Table.grid(padding=(0, 2))
        head.add_row(Styled(_where(progress), "bold"), Styled(f"round {progress.round}, at most {left} left", "dim"))
        table = Table(box=None, pad_edge=False)
        for name in ("runtime", "model"):
            table.add_column(name)
        for name in ("ms", "ratio", "±"):
            table.add_column(name, justify="right")
        for case in progress.cases:
            reference = next((c for c in progress.cases if self._is_reference(c, case)), None)
            table.add_row(case.runtime, case.model, *_so_far(case, reference))
        return Group(head, table, Styled(progress.doing, "dim"))

    def _is_reference(self, other: CaseResult, case: CaseResult) -> bool:
        return other.model == self._reference and other.runtime == case.runtime and case.model != self._reference


def _where(progress: Progress) -> str:
    passes = f", pass {progress.process + 1} of {progress.processes}" if progress.processes > 1 else ""
    return f"{progress.size} px ({progress.index + 1} of {progress.sizes}{passes})"


def _so_far(case: CaseResult, reference: CaseResult | None) -> tuple[str, str, str]:
    if not case.visits:
        return ("" if case.status == "unmeasured" else case.status), "", ""
    milliseconds = quantities.milliseconds(statistics.median(case.groups))
    groups = statistics.log_ratios(case.rounds, reference.rounds) if reference else []
    if not groups:
        return milliseconds, "", ""
    found = statistics.interval(groups)
    if found is None:
        return milliseconds, "…", ""
    ratio = found.exp()
    return milliseconds, f"{ratio.estimate:.2f}×", f"{ratio.width:.1%}"
