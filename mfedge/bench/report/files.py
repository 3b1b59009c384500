"""Everything that is drawn from a stored result, as files in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mfedge import files as store
from mfedge.bench.profile import tables as profile_report
from mfedge.bench.profile.schema import Profile
from mfedge.bench.report import FORMATS, TEXTS, chart, html, tables
from mfedge.bench.results.schema import Result
from mfedge.bench.results.summary import summarise
from mfedge.errors import MissingRuntimeError


def files(result: Result, formats: tuple[str, ...] = FORMATS, profiles: tuple[Profile, ...] = ()) -> dict[str, bytes]:
    """Name → bytes: report.md, report.csv, chart.svg, chart.png, report.html."""
    summary = summarise(result)
    charts = chart.draw(summary) if {"svg", "png"} & set(formats) else {}
    made = {}
    if "md" in formats:
        made["report.md"] = tables.markdown(summary).encode()
    if "csv" in formats:
        made["report.csv"] = tables.to_csv(summary).encode()
    for kind in ("svg", "png"):
        if kind in formats:
            made[f"chart.{kind}"] = charts[kind]
    if "html" in formats:
        sections = [profile_report.section(profile) for profile in profiles]
        made["report.html"] = html.page(result, summary, sections).encode()
    return made


def write(
    result: Result,
    folder: Path,
    formats: tuple[str, ...] | None = None,
    profiles: tuple[Profile, ...] = (),
    note: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write the files: all of them, or none.

    Args:
        result: to report.
        folder: that they go into.
        formats: of FORMATS; None is all of them, or TEXTS where nothing can be drawn.
        profiles: for the HTML report.
        note: told what is not drawn, and why.

    Raises:
        StorageError: the folder cannot be written.
        MissingRuntimeError: a chart is asked for, and nothing can be drawn.
    """
    try:
        made = files(result, FORMATS if formats is None else formats, profiles)
    except MissingRuntimeError as error:
        if formats is not None:
            raise
        note(str(error))
        made = files(result, TEXTS, profiles)
    store.write_all(folder, made)
    return [folder / name for name in made]
