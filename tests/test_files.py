"""Files of one answer appear together or not at all; what a killed process left is swept, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mfedge import files
from mfedge.errors import StorageError

OLD = {"a": b"old a", "b": b"old b"}
NEW = {"a": b"new a", "b": b"new b", "c": b"new c"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; a folder that is empty has an entry too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("there", [None, {}, OLD, {"b": b"old b", "z": b"of somebody else"}])
def test_all_files_appear(
    tmp_path: Path, there: dict[str, bytes] | None, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    folder = tmp_path / "deep" / "folder"
    if there is not None:
        files.write_all(folder, there)
    files.write_all(folder, NEW)
    assert contents(folder) == {**(there or {}), **NEW}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def failing(real: Callable[..., None], on: int, error: BaseException) -> Callable[..., None]:
    calls = iter(range(100))

    def call(*arguments: object) -> None:
        if next(calls) == on:
            raise error
        real(*arguments)

    return call


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
@pytest.mark.parametrize("step", ["_write_synced", "_take_place"])
@pytest.mark.parametrize("on", [0, 1, 2])
@pytest.mark.parametrize("there", [None, {}, OLD])
def test_none_appears_and_what_was_there_stays(
    tmp_path: Path,
    there: dict[str, bytes] | None,
    on: int,
    step: str,
    error: BaseException,
    exchange: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if there is None and step == "_take_place" and on:
        pytest.skip("a new folder takes its place by one rename")
    folder = tmp_path / "folder"
    if there is not None:
        folder.mkdir()
        for name, data in there.items():
            (folder / name).write_bytes(data)
    was = contents(tmp_path)
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    monkeypatch.setattr(files, step, failing(getattr(files, step), on, error))
    with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
        files.write_all(folder, NEW)
    assert contents(tmp_path) == was


def test_a_folder_or_device_in_a_file_s_place_stays(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StorageError, match="b: expected a file or nothing there"):
        files.write_all(tmp_path, NEW)
    with pytest.raises(StorageError, match="fifo: expected a file"):
        files.write(tmp_path / "fifo", b"")
    (tmp_path / "file").write_bytes(b"data")
    with pytest.raises(StorageError, match="file: expected a folder"):
        files.write_all(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == b"data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "fifo", "file"]


def test_a_check_leaves_no_folder(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "one" / "two" / "result.json")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        files.check_writable(tmp_path / "file" / "two" / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


STAGE = """
import sys, time
from pathlib import Path
from mfedge import files
with files.staged(Path(sys.argv[1]) / "out") as staging:
    (staging / "half").write_text("half")
    print(staging.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_stages_is_not(tmp_path: Path) -> None:
    processes, names = [], []
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", STAGE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        processes.append(process)
        names.append(process.stdout.readline().strip())
    dead, living = processes
    try:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
        # The number of the living process with another start, as after a restart of the machine or a container.
        again = tmp_path / f".mfedge-staging-{living.pid}-1-x"
        again.mkdir()
        # In another container the owner's number means nothing, but its lock holds.
        elsewhere = tmp_path / ".mfedge-staging-4194305-1-locked"
        elsewhere.mkdir()
        lock = files._lock(elsewhere)
        assert lock is not None
        files.write(tmp_path / "out2" / "file", b"data")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], elsewhere.name, "out2"])
        os.close(lock)
        files.write(tmp_path / "out3" / "file", b"data")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], "out2", "out3"])
    finally:
        living.kill()
        living.wait()


def test_only_folders_of_this_user_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valuable = tmp_path / "valuable"
    valuable.mkdir()
    (valuable / "thesis.tex").write_text("years of work")
    (tmp_path / ".mfedge-staging-4194305-1-link").symlink_to(valuable)
    (tmp_path / ".mfedge-staging-4194305-1-file").write_text("no folder")
    (tmp_path / ".mfedge-staging-mine").mkdir()
    was = contents(tmp_path)
    files.write(tmp_path / "file", b"data")
    assert contents(tmp_path) == {**was, "file": b"data"}
    (tmp_path / ".mfedge-staging-4194305-1-another").mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    files.write(tmp_path / "file", b"data")
    assert (tmp_path / ".mfedge-staging-4194305-1-another").is_dir()
