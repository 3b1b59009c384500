"""`mfedge info` and `mfedge weights convert`, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import typer
from typer.testing import CliRunner, Result

from mfedge.cli import info, weights
from mfedge.errors import CheckpointError, MfedgeError, UsageError
from tests.conftest import network

app = typer.Typer()
info.register(app)
weights.register(app)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(kind: type[MfedgeError], *arguments: str | Path) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert result.stdout == ""
    return str(result.exception)


def test_every_variant_is_listed_beside_the_paper() -> None:
    out = run("info").stdout
    line = next(line for line in out.splitlines() if "mobile-former-214m" in line)
    assert line.split() == ["mobile-former-214m", "9,425,920", "9.4", "208,374,240", "214.09", "214"]
    assert "fitted" in out
    assert out.count("mobile-former-") == 7
    assert out.count("mobilenet-v3-") == 4


def test_every_variant_as_json() -> None:
    rows = {row["name"]: row for row in json.loads(run("info", "--json").stdout)}
    assert len(rows) == 11
    assert rows["mobile-former-26m"]["madds"] == 23_550_208
    assert rows["mobile-former-26m"]["paper"]["madds_millions"] == 26
    assert rows["mobilenet-v3-large"]["madds_paper_like"] is None
    assert "blocks" not in rows["mobile-former-26m"]


def test_a_variant_block_by_block() -> None:
    out = run("info", "--variant", "26m", "--size", "320x256", "--num-classes", "10", "--set", "tokens=2").stdout
    assert "320x256" in out
    assert "…" not in out, "a cell was cut"
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["stem"][1:4] == ["stem", "3x320x256", "8x160x128"]
    assert lines["classifier"][2:4] == ["96x10x8", "10"]
    assert "blocks.8" in lines
    assert "total" in lines


def test_a_variant_as_json() -> None:
    data = json.loads(run("info", "--variant", "mobilenet-v3-small", "--json").stdout)
    assert data["params"] == sum(block["params"] for block in data["blocks"]) == 2_542_856


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--variant", "27m"], "unknown"),
        (["--variant", "26m", "--set", "tokens=0"], "tokens"),
        (["--variant", "26m", "--size", "31"], "31"),
        (["--variant", "26m", "--size", "dynamic"], "expected one size"),
        (["--variant", "26m", "--size", "twelve"], "twelve"),
        (["--variant", "26m", "--set", "mixing=position-mlp", "--size", "256"], "224x224 only"),
        (["--size", "256"], "--variant"),
        (["--set", "tokens=3"], "--variant"),
        (["--num-classes", "3"], "--variant"),
    ],
)
def test_mistakes_are_usage_errors(arguments: list[str], part: str) -> None:
    assert part in refused(UsageError, "info", *arguments)


def test_a_checkpoint_is_made_safe(tmp_path: Path) -> None:
    state = network("26m").state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "in.pth")
    out = tmp_path / "out.safetensors"
    data = json.loads(run("weights", "convert", tmp_path / "in.pth", out, "--json").stdout)
    loaded = safetensors.torch.load_file(out)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert (data["tensors"], data["bytes"]) == (len(state), out.stat().st_size)
    again = run("weights", "convert", out, out).stdout  # itself: replaced by an equal file
    assert data["sha256"] in again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pth", "out.safetensors"]


def test_a_conversion_that_cannot_be_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "in.pth")
    (tmp_path / "folder.safetensors").mkdir()
    source = tmp_path / "in.pth"
    assert ".safetensors" in refused(UsageError, "weights", "convert", source, tmp_path / "out.pth")
    assert "folder" in refused(UsageError, "weights", "convert", source, tmp_path / "no" / "out.safetensors")
    assert "folder" in refused(UsageError, "weights", "convert", source, tmp_path / "folder.safetensors")
    assert "no such file" in refused(CheckpointError, "weights", "convert", tmp_path / "x", tmp_path / "o.safetensors")
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    refused(CheckpointError, "weights", "convert", tmp_path / "bad.pth", tmp_path / "o.safetensors")
    assert not (tmp_path / "o.safetensors").exists()


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    heavy = "{'torch', 'numpy', 'rich.table', 'safetensors', 'PIL'}"
    code = f"import sys, mfedge.cli.info, mfedge.cli.weights; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
