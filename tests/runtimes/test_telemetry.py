"""Nothing phones home: onnxruntime 1.32 stores events and sends them, unless it is told not to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.test_figures import small

LOAD = "import sys; from pathlib import Path; from mfedge import runtimes; runtimes.load(Path(sys.argv[1]))"


def test_a_session_of_onnxruntime_leaves_no_events(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model, home = small(tmp_path / "model.onnx"), tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", LOAD, str(model)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(home.rglob("*onnxruntime*"))
