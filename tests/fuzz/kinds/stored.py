"""JSON files that mfedge stores and reads back: results, profiles, figures."""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec

from mfedge.bench.gate import figures
from mfedge.bench.profile import run as profiles
from mfedge.bench.profile import schema as profile_schema
from mfedge.bench.profile import tables as profile_tables
from mfedge.bench.report import files as reports
from mfedge.bench.report import html, tables
from mfedge.bench.results import schema as results
from mfedge.bench.results.compare import compare
from mfedge.bench.results.summary import summarise
from mfedge.errors import EnvironmentMismatchError
from mfedge.sizes import Size
from tests.bench.made import made_result
from tests.fuzz import octets, values
from tests.fuzz.case import GIB, USAGE, Call, Case, Kind

CHECKOUT = Path(__file__).parents[3]


def prepare(folder: Path) -> None:
    small = made_result((224, 512), ("onnxruntime", "litert"), rounds=4)
    (folder / "result.json").write_bytes(results.encode(small))
    old = CHECKOUT / "benchmarks" / "results" / "full-width" / "bridge" / "result.json"
    shutil.copy(old, folder / "result-old.json")
    for path in (CHECKOUT / "benchmarks" / "baselines").glob("*.json"):
        shutil.copy(path, folder / f"figures-{path.name}")
    operators = tuple(
        profile_schema.Operator(f"blocks.{i}.mobile/Conv_{i}", "Conv", "Mobile", 1e-4 * (i + 1), 10**6, 10**5)
        for i in range(5)
    )
    made = profile_schema.Profile(
        profile_schema.SCHEMA, "tiny", "onnxruntime", "1.0", Size(224, 320), "model.onnx", "0" * 64, 20, 1e-2, 1.1e-2,
        5 * 10**6, "made up", profile_schema.Peak(1e11, 1e10), operators,
    )  # fmt: skip
    (folder / "profile.json").write_bytes(profiles.encode(made))


def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
    seed = generator.choice(sorted(seeds.iterdir()))
    path = folder / "stored.json"
    if generator.random() < 0.15:
        path.write_bytes(octets.changed(seed.read_bytes(), generator))
    else:
        text = values.to_json(values.changed(json.loads(seed.read_bytes()), generator))
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    of = seed.name.partition(".")[0].partition("-")[0]
    return Case(seed.name, {"result": _of_result, "figures": _of_figures, "profile": _of_profile}[of](path, seed))


def _of_result(path: Path, seed: Path) -> list[Call]:
    def summary() -> Any:
        found = summarise(results.read(path))
        tables.terminal(found)
        return msgspec.json.encode(found), tables.statements(found)

    def report() -> Any:
        return reports.write(results.read(path), path.parent / "out", ("md", "csv", "html"), (), lambda text: None)

    def compared() -> Any:
        with contextlib.suppress(EnvironmentMismatchError):  # which is what a changed environment is
            compare(results.read(seed), results.read(path), True)

    return [Call("report --json", summary, USAGE), Call("report", report, USAGE), Call("compare", compared, USAGE)]


def _of_figures(path: Path, seed: Path) -> list[Call]:
    def compared() -> Any:
        return figures.compare(figures.read(seed), figures.read(path), 0.03)

    def check(lines: list[figures.FigureLine]) -> str | None:
        bad = [line.name for line in lines if math.isnan(line.growth) or line.candidate < 0]
        return f"has impossible figures: {bad[0]}" if bad else None

    return [Call("gate figures", compared, USAGE, check)]


def _of_profile(path: Path, seed: Path) -> list[Call]:
    def drawn() -> Any:
        found = profiles.read(path)
        shown = [profile_tables.headline(found), *profile_tables.remarks(found)]
        rows = [profile_tables.rows(found, "part"), profile_tables.rows(found, "type"), profile_tables.slowest(found)]
        return shown, rows, html.table(profile_tables.COLUMNS, profile_tables.rows(found, "part"))

    return [Call("report --profile", drawn, USAGE)]


KINDS = (Kind("stored", make, prepare, memory=GIB),)
