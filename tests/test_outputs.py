"""Nasty names go through every printer, and one place alone prints: nothing reaches a terminal or page as a command."""

from __future__ import annotations

import ast
import csv
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace
from typer import Exit as Ended

from mfedge.bench import stored
from mfedge.bench.gate import judge
from mfedge.bench.gate import report as gate_report
from mfedge.bench.gate.figures import FigureLine
from mfedge.bench.measure.rounds import Progress
from mfedge.bench.profile.schema import SCHEMA as PROFILE
from mfedge.bench.profile.schema import Operator, Peak, Profile
from mfedge.bench.report import files as reports
from mfedge.bench.report.display import Display
from mfedge.bench.results import schema
from mfedge.bench.results.intervals import Interval
from mfedge.bench.results.schema import Result
from mfedge.bench.results.summary import summarise
from mfedge.cli import compare as compare_command
from mfedge.cli import console
from mfedge.cli import profile as profile_command
from mfedge.cli import report as report_command
from mfedge.errors import Exit
from mfedge.sizes import Size
from mfedge.text import LINE
from tests.bench.made import made_result
from tests.support.nasty import nasty

PACKAGE = Path(__file__).parent.parent / "mfedge"
SEEDS = range(6)
OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # what rich draws with: colours, moves of the cursor, start of the line


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def nasty_result(seed: int, sides: tuple[int, ...] = (224,)) -> Result:
    """A result whose every text is nasty; one case failed."""
    g = random.Random(seed)
    made = made_result(sides, ("onnxruntime", "openvino"), rounds=7)
    model, reference, runtime = nasty(g) + "a", nasty(g) + "b", nasty(g) + "c"
    cases = [
        replace(
            case,
            model=reference if case.model == made.reference else model,
            runtime=runtime if case.runtime == "openvino" else case.runtime,
            file=nasty(g), sha256=nasty(g), message=nasty(g),
            executed=case.executed and replace(case.executed, version=nasty(g), compute=nasty(g)),
        )
        for case in made.cases
    ]  # fmt: skip
    cases[0] = replace(cases[0], status="failed")
    machine = replace(
        made.environment, cpu=nasty(g), system=nasty(g), kernel=nasty(g), machine=nasty(g), python=nasty(g),
        mfedge=nasty(g), governor=nasty(g), isa=(nasty(g),), libraries={nasty(g): nasty(g)},
    )  # fmt: skip
    return replace(
        made, title=nasty(g), started=nasty(g), ended=nasty(g), reference=reference, environment=machine,
        complete=False, cases=tuple(cases),
    )  # fmt: skip


def nasty_profile(seed: int) -> Profile:
    g = random.Random(seed)
    operators = tuple(Operator(nasty(g), nasty(g), nasty(g), 1e-3, 10, 10) for _ in range(9))
    return Profile(
        PROFILE, nasty(g), nasty(g), nasty(g), Size(64, 96), nasty(g), nasty(g), 3, 1e-2, 2e-2, 90, nasty(g),
        Peak(1e9, 1e9), operators,
    )  # fmt: skip


def nasty_gate(seed: int, code: Exit) -> judge.Report:
    g = random.Random(seed)
    one = Interval(1.0, 0.9, 1.1, 0.95, 8)
    cases = tuple(
        judge.CaseLine(nasty(g), Size(64, 96), one, 0.5, one, 0.1, verdict, nasty(g), 1.0, 1.0)
        for verdict in ("pass", "regression", "inconclusive")
    )
    figures = {nasty(g): (FigureLine(nasty(g), 1, 2, 0.0, True), FigureLine(nasty(g), 0, 0, 0.0, False))}
    return judge.Report(
        judge.SCHEMA, nasty(g), nasty(g), int(code), nasty(g), (nasty(g), nasty(g)), judge.Settings(), figures, cases,
        {}, 1, 1.0,
    )  # fmt: skip


def assert_printable(shown: str, bounded: bool = True) -> None:
    for line in shown.split("\n"):
        assert line.isprintable(), repr(line)
        assert not bounded or len(line) <= LINE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_terminal(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    g = random.Random(seed)
    report_command.show(summarise(nasty_result(seed)))
    profile_command._show(nasty_profile(seed), top=5)
    for _ in range(20):
        console.out(nasty(g))
        console.note(nasty(g))
        console.error(nasty(g) * 100)
    with console.progress() as progress:
        progress(nasty(g))
    console.print_json({nasty(g): nasty(g)})
    captured = capsys.readouterr()
    assert_printable(captured.out)
    assert_printable(captured.err)
    assert sum(line.startswith("error: ") for line in captured.err.splitlines()) == 20


@pytest.mark.parametrize("seed", SEEDS)
def test_the_live_display_and_the_spinner(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    result, screen, g = nasty_result(seed), Terminal(), random.Random(seed)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    with Display(console.rich(screen), result.reference) as display:
        display.note(nasty(g))
        display.update(Progress(Size(64, 96), 0, 1, 0, 2, 1, nasty(g), 10.0, result.cases))
    with console.progress() as progress:
        progress(nasty(g))
        progress(f"{nasty(g)}: done")
    assert "\x1b[" in screen.getvalue(), "it was drawn as on a terminal"
    assert_printable(OWN.sub("", screen.getvalue()), bounded=False)


def test_names_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    made = made_result((224,), ("onnxruntime",), rounds=7)
    cases = tuple(replace(case, model=f"[bold]:smile:[/foo]{case.model[:3]}") for case in made.cases)
    report_command.show(summarise(replace(made, cases=cases)))
    assert capsys.readouterr().out.count("[bold]:smile:[/foo]mob") == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_markdown_csv_and_json(seed: int) -> None:
    result = nasty_result(seed, (224, 512))
    made = reports.files(result, ("md", "csv"))
    markdown = made["report.md"].decode()
    assert_printable(markdown, bounded=False)
    assert_plain(markdown)
    rows = list(csv.reader(io.StringIO(made["report.csv"].decode())))
    assert len(rows) == 1 + len(result.cases) and len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert cell.isprintable() and not cell.lstrip().startswith(("=", "+", "-", "@"))
    for report in (nasty_gate(seed, Exit.REGRESSION), nasty_gate(seed, Exit.DONE)):
        assert_printable(gate_report.markdown(report), bounded=False)
        assert_plain(gate_report.markdown(report))


def assert_plain(markdown: str) -> None:
    """What a page makes of it has the elements of our own tables and lists; foreign text makes none."""
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    tags = set(re.findall(r"<(!--|[a-z0-9]+)", page))
    allowed = {"h1", "h3", "ul", "li", "p", "blockquote", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags <= allowed, tags - allowed
    widths = [row.count("<t") - 1 for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    assert set(widths) <= {3, 4, 5, 9, 10}, "no cell leaves its row"


@pytest.mark.parametrize(("seed", "sides"), [(0, (224,)), (1, (224, 512)), (2, (224, 512))])
def test_html_and_charts(seed: int, sides: tuple[int, ...]) -> None:
    made = reports.files(nasty_result(seed, sides), ("svg", "png", "html"), (nasty_profile(seed),))
    assert made["chart.png"].startswith(b"\x89PNG")
    ElementTree.fromstring(made["chart.svg"])
    page = made["report.html"].decode()
    assert_printable(page, bounded=False)
    tags = set(re.findall(r"<(!--|[a-zA-Z0-9]+)", re.sub(r"(?s)<svg.*?</svg>", "", page)))
    assert tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "figure", "div", "table",
        "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("code", [Exit.REGRESSION, Exit.PARITY])
def test_junit(seed: int, code: Exit) -> None:
    suite = ElementTree.fromstring(gate_report.junit(nasty_gate(seed, code)))
    assert {element.tag for element in suite.iter()} <= {"testsuite", "testcase", "failure", "error"}
    for value in (value for element in suite.iter() for value in element.attrib.values()):
        assert value.isprintable() and len(value) <= LINE


def storable(result: Result) -> Result:
    """Without lone surrogates, which no JSON in UTF-8 can hold, and no measurement makes."""
    text = json.dumps(msgspec.to_builtins(result))
    return msgspec.convert(json.loads(re.sub(r"\\ud[89a-f]..", "?", text)), Result)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_stored_stays_data(seed: int) -> None:
    result = storable(nasty_result(seed))
    encoded = schema.encode(result)
    assert_printable(encoded.decode(), bounded=False)
    assert msgspec.json.decode(encoded, type=Result) == result
    assert stored.encode(result) == encoded


@pytest.mark.parametrize("seed", SEEDS)
def test_commands_on_a_stored_result(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(schema.encode(storable(nasty_result(seed))))
    for json_ in (False, True):
        report_command.report(path, "md", json=json_)
        with pytest.raises(Ended) as ended:
            compare_command.compare(path, path, json=json_)
        assert ended.value.exit_code == Exit.DONE
    captured = capsys.readouterr()
    assert_printable(captured.out, bounded=False)
    assert_printable(captured.err)


NAMES = ("a\x1b[31m.json", "a\n[bold].json", "a\u202eb.onnx", "a\udcff.onnx", "x" * 250, "y" * 300)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["report", "verify", "predict", "bench", "gate", "profile", "--nonsense"])
def test_a_file_s_name_in_an_error(command: str, name: str, tmp_path: Path) -> None:
    arguments = {
        "predict": ["predict", name, name], "bench": ["bench", "--models", f"./{name}", "--sizes", "64"],
        "gate": ["gate", name, name], "--nonsense": [f"--{name}"],
    }.get(command, [command, name])  # fmt: skip
    there = len(name) <= 255  # the last one cannot be
    if there:
        (tmp_path / name).write_bytes(b"{}")
    command_line = [sys.executable, "-m", "mfedge", *arguments]
    done = subprocess.run(command_line, capture_output=True, cwd=tmp_path, timeout=60)
    said = done.stderr.decode()
    assert_printable(said)
    failed = command == "bench" and name == NAMES[2]  # that file's result: no runtime loads it
    assert done.returncode == Exit.ARTIFACT if failed else 1 < done.returncode < Exit.FAULT, said
    assert sum(line.startswith("error: ") for line in said.splitlines()) == (0 if failed else 1)
    assert "Traceback" not in said


def ways_out(path: Path) -> Iterator[str]:
    """What a module calls, inherits from or names to write past the console."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call | ast.ClassDef):
            for used in [node.func] if isinstance(node, ast.Call) else node.bases:
                name = getattr(used, "attr", getattr(used, "id", ""))
                if name in ("print", "Console", "echo", "secho", "from_markup"):
                    yield name
        elif isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "__stdout__", "__stderr__"):
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                yield f"sys.{node.attr}"


def is_program(path: Path) -> bool:
    """Whether a module is run by itself: a worker, whose standard output is a pipe to the process that reads it."""
    return '__name__ == "__main__"' in path.read_text("utf-8")


def test_one_module_prints() -> None:
    prints = {path.relative_to(PACKAGE).as_posix(): sorted(set(ways_out(path))) for path in PACKAGE.rglob("*.py")}
    allowed = {
        "cli/console.py": ["Console", "print", "sys.stderr", "sys.stdout"],
        "cli/main.py": ["echo"],  # help, which typer has made
        "cli/bench.py": ["sys.stderr"],  # what the console draws the display on
        "bench/report/display.py": ["print"],  # on the console that it is given
    }
    for name, found in prints.items():
        if is_program(PACKAGE / name):
            found = [way for way in found if way != "sys.stdout"]
        assert found == allowed.get(name, []), name
