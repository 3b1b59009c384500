"""Every mfedge command of the README runs, and what it is shown to print is the kind of line it prints."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mfedge.data.images import photograph
from tests.data.golden import state_dict as golden

README = Path(__file__).parent.parent / "README.md"


def sessions() -> list[tuple[str, list[str]]]:
    """Each `$ command` of the console blocks, in order, with the lines shown under it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def kind(line: str) -> str:
    """A line with its numbers and versions masked: they differ from machine to machine."""
    return re.sub(r"\d[\d.]*(?:e-?\d+)?", "#", line)


def test_the_readme_s_commands_run_as_shown(tmp_path: Path) -> None:
    shutil.copyfile(photograph(), tmp_path / "photo.jpg")
    state = {key: torch.from_numpy(value) for key, value in golden.state_dict("mobile_former_26m").items()}
    torch.save({"state_dict": state, "epoch": 449}, tmp_path / "checkpoint.pth")
    shown = sessions()
    assert len(shown) >= 11
    for command, expected in shown:
        program, *arguments = shlex.split(command)
        assert program == "mfedge"
        done = subprocess.run(
            [sys.executable, "-m", "mfedge", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, (command, done.stderr)
        if expected:
            assert [kind(line) for line in done.stdout.splitlines()] == [kind(line) for line in expected], command


def test_the_readme_s_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert not scope["network"].training  # type: ignore[attr-defined]


def test_the_readme_s_toml_is_a_variant(tmp_path: Path) -> None:
    from mfedge.zoo import load_spec

    (text,) = re.findall(r"```toml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    assert load_spec(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize(
    "target", ["demo", "test", "test-all", "test-tflite-runtime", "check", "setup", "bench", "clean"]
)
def test_the_makefile_has_what_the_documents_name(target: str) -> None:
    makefile = (README.parent / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
