"""What the documents promise: every command of the README runs as shown, every link leads somewhere."""

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

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "benchmarks/counts.md",
    "mfedge/kernels/README.md",
    "mfedge/kernels/LOG.md",
]
MOST_LINES = 160  # ten minutes of reading
BANNED = {  # as words for an order or a rate → what to write instead
    " behind ": "after, next or past",
    " once a ": "once per",
}


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


SESSION = sessions()


class Shell:
    """Runs the README's session in one folder, a command after all those before it, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended: list[subprocess.CompletedProcess[str]] = []

    def ended(self, index: int) -> subprocess.CompletedProcess[str]:
        """How the command of this index ended; one that failed does not keep the next from running."""
        for command, _ in SESSION[len(self._ended) : index + 1]:
            program, *arguments = shlex.split(command)
            assert program == "mfedge"
            run = [sys.executable, "-m", "mfedge", *arguments]
            self._ended.append(subprocess.run(run, cwd=self._folder, capture_output=True, text=True, timeout=300))
        return self._ended[index]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with the photograph and the checkpoint that the session names."""
    folder = tmp_path_factory.mktemp("session")
    shutil.copyfile(photograph(), folder / "photo.jpg")
    state = {key: torch.from_numpy(value) for key, value in golden.state_dict("mobile_former_26m").items()}
    torch.save({"state_dict": state, "epoch": 449}, folder / "checkpoint.pth")
    return Shell(folder)


@pytest.mark.parametrize("index", range(len(SESSION)), ids=[command for command, _ in SESSION])
def test_the_readme_s_commands_run_as_shown(shell: Shell, index: int) -> None:
    done, shown = shell.ended(index), SESSION[index][1]
    assert done.returncode == 0, done.stderr
    if shown:
        assert [kind(line) for line in done.stdout.splitlines()] == [kind(line) for line in shown]


def test_the_readme_shows_every_command_that_measures_nothing() -> None:
    shown = {shlex.split(command)[1] for command, _ in SESSION}
    assert shown >= {"info", "export", "weights", "verify", "predict", "doctor"}


def test_the_readme_s_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert not scope["network"].training


def test_the_readme_s_toml_is_a_variant(tmp_path: Path) -> None:
    from mfedge.zoo import load_spec

    (text,) = re.findall(r"```toml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    assert load_spec(str(tmp_path / "mine.toml")).name == "mine"


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link.partition("#")[0]).exists()]
    assert not missing


def test_every_stored_result_is_one_that_a_page_shows() -> None:
    pages = [ROOT / document for document in DOCUMENTS]
    linked = {
        (page.parent / link).resolve() for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }
    stored = [path for path in (ROOT / "benchmarks/results").rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if path.resolve() not in linked]


@pytest.mark.parametrize("document", ["README.md", "benchmarks/README.md"])
def test_sentences_need_no_decoding(document: str) -> None:
    text = " ".join((ROOT / document).read_text("utf-8").split())
    assert not [f"{word.strip()}: write {instead}" for word, instead in BANNED.items() if word in text]


@pytest.mark.parametrize(
    "target", ["demo", "test", "test-all", "test-tflite-runtime", "check", "setup", "bench", "clean"]
)
def test_the_makefile_has_what_the_documents_name(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
