"""Commands that are interrupted and disks that fail, a few of each; `make faults` tries hundreds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.faults import __main__ as faults
from tests.faults import inject
from tests.faults.commands import COMMANDS, Command, World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what processes are left")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.made(tmp_path_factory.mktemp("faults") / "made")


@pytest.mark.parametrize("name", ["weights", "report", "gate"])
def test_a_disturbed_command_leaves_what_was_there_or_the_whole_answer(name: str, made: World, tmp_path: Path) -> None:
    if missing := inject.compile_disk():
        pytest.skip(missing)
    (command,) = (command for command in COMMANDS if command.name == name)
    wholes = {command: inject.undisturbed(command, made.copy(tmp_path / "whole"))}
    generator = random.Random(name)
    tries = [*faults.signals(wholes, 1, generator), *faults.disks(wholes, 2, generator)]
    broken = [attempt(world=made.copy(tmp_path / f"{number}")) for number, attempt in enumerate(tries)]
    assert len(broken) == len(tries) > 8
    assert not [(result.fault, result.wrong) for result in broken if result.wrong]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_every_command_at_more_moments(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main(["--moments", "4", "--disks", "5", "--command", command.name]) == 0, capsys.readouterr().err
