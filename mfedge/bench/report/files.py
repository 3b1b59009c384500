"""Everything that is drawn from a stored result, as files in a folder."""

from __future__ import annotations

from pathlib import Path

from mfedge import files as store
from mfedge.bench.profile import tables as profile_report
from mfedge.bench.profile.schema import Profile
from mfedge.bench.report import chart, html, tables
from mfedge.bench.results.schema import Result
from mfedge.bench.results.summary import summarise

FORMATS = ("md", "csv", "svg", "png", "html")


def files(result: Result, formats: tuple[str, ...] = FORMATS, profiles: tuple[Profile, ...] = ()) -> dict[str, bytes]:
    """Name → bytes: report.md, report.csv, chart.svg, chart.png, report.html."""
    summary = summarise(result)
    charts = chart.draw(summary) if {"svg", "png", "html"} & set(formats) else {}
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
        made["report.html"] = html.page(result, summary, [charts["svg"].decode()], sections).encode()
    return made


def write(
    result: Result, folder: Path, formats: tuple[str, ...] = FORMATS, profiles: tuple[Profile, ...] = ()
) -> list[Path]:
    """Write the files, each whole or not at all.

    Raises:
        StorageError: the folder cannot be written.
    """
    paths = []
    for name, data in files(result, formats, profiles).items():
        store.write(folder / name, data)
        paths.append(folder / name)
    return paths
