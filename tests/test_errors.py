"""Exit codes are an interface: one enum says them, and help and README print it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mfedge import errors
from mfedge.errors import Exit, MfedgeError

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_has_the_table_of_the_enum() -> None:
    section = README.read_text("utf-8").partition("## Exit codes")[2]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section, re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == [(code.value, code.meaning) for code in Exit]


def test_help_says_every_code() -> None:
    done = subprocess.run([sys.executable, "-m", "mfedge", "--help"], capture_output=True, text=True, check=True)
    said = " ".join(re.sub(r"[│╭╰─]", " ", done.stdout).split())
    for code in Exit:
        assert f"{code.value} {code.meaning}" in said


def test_every_error_has_a_code_of_the_enum() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MfedgeError)]
    assert len(kinds) > 8
    assert all(isinstance(kind.exit_code, Exit) for kind in kinds)
    raised_by_none = {Exit.DONE, Exit.INCONCLUSIVE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.TERMINATED}
    assert {kind.exit_code for kind in kinds} == set(Exit) - raised_by_none
