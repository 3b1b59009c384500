"""Fake models and a protocol that measures them in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mfedge.bench.cases import Case
from mfedge.bench.measure.environment import default_cpu
from mfedge.bench.results.schema import Protocol
from mfedge.sizes import Size

CaseMaker = Callable[..., Case]


@pytest.fixture
def quick() -> Protocol:
    """Short visits, few rounds."""
    return Protocol(
        cpu=default_cpu(), budget_seconds=20, within=0.0, min_rounds=6, max_rounds=6, visit_seconds=0.004,
        sample_seconds=0.002, samples_per_visit=2, warmup_seconds=0.5, timeout_seconds=10,
    )  # fmt: skip


@pytest.fixture
def make_case(tmp_path: Path) -> CaseMaker:
    """make_case("slow", "2.0 crash", side=64): a case of the fake runtime."""

    def make(name: str, text: str, side: int = 64, runtime: str = "fake") -> Case:
        path = tmp_path / f"{name}.fake"
        path.write_text(text)
        return Case(name, runtime, Size(side, side), str(path), "0" * 64, 8, 0)

    return make
