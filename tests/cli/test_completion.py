"""The shell completes values from the tables, and does not wait for a library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mfedge import resources
from mfedge.bench.report import FORMATS as REPORTS
from mfedge.cli.options import completing, runtimes_of_artifacts, variants
from mfedge.formats.table import FORMATS
from mfedge.kernels.find import KERNELS
from mfedge.precisions import PRECISIONS
from mfedge.runtimes.table import RUNTIMES

HEAVY = ("torch", "numpy", "onnx", "openvino", "scipy", "matplotlib", "PIL")


def completed(*words: str) -> list[str]:
    """What bash is given for the last of these words."""
    environment = {
        **os.environ, "_MFEDGE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("mfedge", *words)),
        "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    command = [sys.executable, "-X", "importtime", "-m", "mfedge"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mfedge.cli.options" in imported and not imported & set(HEAVY)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("export", "--format", ""), list(FORMATS)),
        (("export", "--precision", ""), list(PRECISIONS)),
        (("export", "--kernels", ""), list(KERNELS)),
        (("export", "--target", ""), resources.names("export")),
        (("info", "--variant", ""), variants()),
        (("verify", "--runtime", ""), runtimes_of_artifacts()),
        (("gate", "--runtimes", ""), runtimes_of_artifacts()),
        (("profile", "--runtime", ""), list(RUNTIMES)),
        (("bench", "--suite", ""), resources.names("benchmarks")),
        (("bench", "--models", "214m,2"), ["214m,26m", "214m,294m"]),
        (("bench", "--runtimes", "torch,open"), ["torch,openvino"]),
        (("bench", "--reference", "mobilenet-v3-s"), ["mobilenet-v3-small"]),
        (("report", "--format", "md,"), [f"md,{name}" for name in REPORTS if name != "md"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_values_come_from_the_tables(words: tuple[str, ...], expected: list[str]) -> None:
    assert expected and completed(*words) == expected


def test_no_name_begins_so() -> None:
    """Then the shell completes files, which many of these options take too."""
    assert completing(variants)("./mine") == []
    assert completing(variants, several=True)("26m,./mine") == []


def test_what_was_given_is_not_offered_again() -> None:
    offered = completing(lambda: ["a", "ab", "b"], several=True)
    assert offered("") == ["a", "ab", "b"]
    assert offered("a") == ["a", "ab"]
    assert offered("a,") == ["a,ab", "a,b"]
    assert offered("b,a,") == ["b,a,ab"]
    assert completing(lambda: ["a,b"])("a,") == ["a,b"], "without several a comma is a letter"
