"""What is captured is there, and names nobody."""

from __future__ import annotations

import getpass
import os
import platform
from pathlib import Path

import msgspec
import pytest

from mfedge import files as store
from mfedge.bench import quantities
from mfedge.bench.measure import environment
from mfedge.errors import StorageError, UsageError


def test_capture_round_trips_and_is_equal_to_itself() -> None:
    cpu = max(environment.affinity())
    captured = environment.capture(cpu)
    assert captured.cpus == os.cpu_count()
    assert captured.memory_bytes > 1 << 28
    assert "numpy" in captured.libraries
    assert msgspec.json.decode(msgspec.json.encode(captured), type=environment.Environment) == captured
    assert captured.differences(captured) == []
    text = msgspec.json.encode(captured).decode()
    assert platform.node() not in text or not platform.node()
    assert str(Path.home()) == "/" or str(Path.home()) not in text
    assert getpass.getuser() not in text


def test_differences_name_the_field() -> None:
    captured = environment.capture(None)
    other = msgspec.structs.replace(captured, cpu="Other", libraries={**captured.libraries, "numpy": "1.0"})
    assert [line.split(":")[0] for line in captured.differences(other)] == ["cpu", "numpy"]


def test_unrest_is_reported() -> None:
    now = environment.Moment(load1=0.0, clock_mhz=None, probe_seconds=1.0, steal_seconds=0.0, busy_seconds=0.0)
    assert environment.unrest(now, now, 60, 2) == []
    slower = msgspec.structs.replace(now, probe_seconds=1.6, steal_seconds=30.0)
    assert len(environment.unrest(now, slower, 60, 2)) == 2
    assert len(environment.unrest(msgspec.structs.replace(now, load1=3.0), now, 60, 2)) == 1


def test_probe_leaves_the_affinity_as_it_was() -> None:
    before = environment.affinity()
    assert environment.moment(max(before)).probe_seconds > 0
    assert environment.affinity() == before


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("5m", 300), ("1.5h", 5400), (" 20s ", 20)])
def test_durations(text: str, seconds: float) -> None:
    assert quantities.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "-5m", "5 minutes", "25h", "nan", "inf"])
def test_nonsense_durations(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.duration(text)


def test_shares() -> None:
    assert quantities.share("3%") == pytest.approx(0.03)
    assert quantities.share("0.03") == 0.03
    for text in ("", "x", "-1%", "100%", "3"):
        with pytest.raises(UsageError):
            quantities.share(text)


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    target, spare = tmp_path / "disk" / "result.json", tmp_path / "spare"
    target.parent.mkdir()
    spare.mkdir()
    monkeypatch.chdir(spare)
    real = Path.open

    def full(self: Path, *args: object, **kwargs: object) -> object:
        return real(Path("/dev/full") if target.parent in self.parents else self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError) as caught:
        store.rescue(target, b"measured" * 10000)
    assert "no space left" in str(caught.value) and "\n" not in str(caught.value)
    assert (spare / "rescued-result.json").read_bytes() == b"measured" * 10000
    assert list(target.parent.iterdir()) == [], "no half-written file stays"
