"""Real processes, a fake runtime: what is measured, and what happens when a worker does not behave."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time

import pytest
from msgspec.structs import replace

from mfedge.bench.measure import driver, rounds
from mfedge.bench.results.intervals import interval, log_ratios
from mfedge.bench.results.schema import Protocol, Result, encode
from tests.bench.conftest import CaseMaker
from tests.bench.fake import LOADER


def run(cases: list, protocol: Protocol, **options: object) -> Result:
    return rounds.Run(cases, protocol, "reference", loader=LOADER, **options).execute()


def test_ratio_samples_and_order(make_case: CaseMaker, quick: Protocol) -> None:
    cases = [make_case("reference", "0.5"), make_case("model", "1.0 pool")]
    result = run(cases, quick)
    assert result.complete
    reference, model = result.cases
    assert [case.status for case in result.cases] == ["ok", "ok"]
    assert {len(case.visits) for case in result.cases} == {6}
    assert all(len(visit.seconds) >= 2 for visit in model.visits), "raw samples are kept"
    first = {case.visits[i].position for case in result.cases for i in range(6)}
    assert first == {0, 1}
    assert len({visit.position for visit in model.visits}) == 2, "the order is drawn anew each round"
    found = interval(log_ratios(model.rounds, reference.rounds))
    assert found is not None and found.rounds == 6
    fastest = [min(min(visit.seconds) for visit in case.visits) for case in (model, reference)]
    assert 1.5 < fastest[0] / fastest[1] < 2.6, "the fastest of all samples: other tests load both cores"
    (load,) = model.loads
    assert load.busy_threads in (1, None), "None: a worker that other tests leave too little time to tell"
    assert load.threads is not None and load.threads >= 4, "sleeping pool threads are seen, and no violation"
    assert load.pinned == (quick.cpu,)
    assert load.loops >= 1 and load.load_seconds >= 0
    assert load.peak_rss_bytes is not None and load.peak_rss_bytes > 10 << 20
    assert "/" not in model.file and str(os.path.dirname(cases[0].path)) not in encode(result).decode()


def test_a_case_that_misbehaves_is_reported_and_the_others_go_on(make_case: CaseMaker, quick: Protocol) -> None:
    behaviours = {
        "refuse": ("failed", "not a model"),
        "crash": ("killed", "SIGSEGV"),
        "killed": ("killed", "SIGKILL"),
        "memory": ("failed", "out of memory"),
        "hang": ("timeout", "did not answer within 2 s"),
        "two-threads": ("threads", "found 2"),
    }
    cases = [make_case("reference", "1.0"), *(make_case(name, f"1.0 {name}") for name in behaviours)]
    protocol = replace(quick, timeout_seconds=2, visit_seconds=0.03, min_rounds=12, max_rounds=12)
    result = run(cases, protocol)
    found = {case.model: case for case in result.cases}
    assert found["reference"].status == "ok" and len(found["reference"].visits) == 12
    for name, (status, message) in behaviours.items():
        assert found[name].status == status, (name, found[name].message)
        assert message in found[name].message and "\n" not in found[name].message


def test_a_worker_killed_from_outside(make_case: CaseMaker, quick: Protocol) -> None:
    class Killer(rounds.Silent):
        def update(self, progress: rounds.Progress) -> None:
            if progress.round == 2:
                for worker in workers:
                    if worker.case.model == "model":
                        os.kill(worker.pid, signal.SIGKILL)

    workers: list[driver.Worker] = []
    original = driver.Worker.__init__

    def remember(self: driver.Worker, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        workers.append(self)

    patch = pytest.MonkeyPatch()
    patch.setattr(driver.Worker, "__init__", remember)
    try:
        result = run([make_case("reference", "0.5"), make_case("model", "0.5")], quick, listener=Killer())
    finally:
        patch.undo()
    reference, model = result.cases
    assert len(reference.visits) == 6 and reference.status == "ok"
    assert model.status == "killed" and len(model.visits) == 2, "what it measured before is kept"


def test_ctrl_c_keeps_what_was_measured(make_case: CaseMaker, quick: Protocol) -> None:
    class Impatient(rounds.Silent):
        def update(self, progress: rounds.Progress) -> None:
            if progress.size.height == 128 and progress.round == 2:
                threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGINT)).start()
                time.sleep(0.3)

    cases = [make_case("reference", "0.2", side) for side in (64, 128, 192)]
    result = run(cases, quick, listener=Impatient())
    assert not result.complete and result.ended == rounds.INTERRUPTED
    assert [len(case.visits) for case in result.cases] == [6, 2, 0]
    assert [case.status for case in result.cases] == ["ok", "ok", "unmeasured"]


def test_the_budget_ends_it(make_case: CaseMaker, quick: Protocol) -> None:
    protocol = replace(quick, budget_seconds=3, max_rounds=10_000)
    start = time.monotonic()
    result = run([make_case("reference", "1"), make_case("model", "1")], protocol)
    assert time.monotonic() - start < 6
    assert result.ended == rounds.OUT_OF_TIME
    assert len(result.cases[0].visits) > 6


def test_precision_ends_it_before(make_case: CaseMaker, quick: Protocol) -> None:
    protocol = replace(quick, within=0.9, max_rounds=10_000)
    result = run([make_case("reference", "1"), make_case("model", "1")], protocol)
    assert result.ended == rounds.PRECISE
    assert len(result.cases[0].visits) < 40


def test_fresh_processes_a_pass_over_all_sizes_apart(make_case: CaseMaker, quick: Protocol) -> None:
    order: list[tuple[int, int]] = []

    class Watch(rounds.Silent):
        def update(self, progress: rounds.Progress) -> None:
            if (progress.process, progress.size.height) not in order:
                order.append((progress.process, progress.size.height))

    protocol = replace(quick, processes=2, max_rounds=4, min_rounds=3, within=50.0)
    result = run([make_case("reference", "0.2", 64), make_case("reference", "0.2", 96)], protocol, listener=Watch())
    assert order == [(0, 64), (0, 96), (1, 64), (1, 96)]
    for case in result.cases:
        assert len(case.loads) == 2
        assert [(visit.process, visit.round) for visit in case.visits] == [(p, r) for p in (0, 1) for r in range(3)]


def test_more_processes_than_asked_until_it_is_precise(make_case: CaseMaker, quick: Protocol) -> None:
    """No ratio of measured times is known to one in a thousand million; the budget is used for more processes."""
    protocol = replace(quick, processes=2, within=1e-9, budget_seconds=8)
    start = time.monotonic()
    result = run([make_case("reference", "0.2"), make_case("model", "0.4")], protocol)
    assert time.monotonic() - start < 12
    assert len(result.cases[0].loads) > 2
    assert result.complete and result.ended == rounds.OUT_OF_TIME


def test_refine_bisects(make_case: CaseMaker, quick: Protocol) -> None:
    """Costs side² against side: equal where side/64 = 1.5, at 96 px."""
    cases = [
        make_case(name, text, side) for side in (64, 128) for name, text in (("reference", "1"), ("model", "1.5 half"))
    ]
    patient = replace(quick, budget_seconds=90)  # on a machine that is busy loading takes seconds
    result = rounds.Run(cases, patient, "reference", loader=LOADER).execute(refine=True)
    added = {case.size.height for case in result.cases} - {64, 128}
    assert added and all(64 < side < 128 for side in added)
    found = {(case.model, case.size.height): case for case in result.cases}
    assert all(found[name, side].status == "ok" for name in ("reference", "model") for side in added)
    assert all(len(found["model", side].visits) >= quick.min_rounds for side in added)


def test_looped_samples_are_of_one_inference(make_case: CaseMaker, quick: Protocol) -> None:
    result = run([make_case("reference", "0.05")], replace(quick, sample_seconds=0.005))
    (case,) = result.cases
    assert case.loads[0].loops > 20
    assert 4e-5 < statistics.median(case.samples) < 4e-4
