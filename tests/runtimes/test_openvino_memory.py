"""A dynamic OpenVINO file takes any number of sizes in bounded memory: OpenVINO itself would keep each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from tests.fuzz.kinds import seeds

SIZES, SETTLED = 150, 100
MOST = 60 << 20  # bytes of growth after so many sizes; without the bound it is four times as much
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, psutil
from mfedge import runtimes

session, process, found = runtimes.load(Path(sys.argv[1])), psutil.Process(), []
for i in range(int(sys.argv[2])):
    height, width = (320, 320) if i == 0 else (64 + i * 37 % 257, 64 + i * 53 % 257)  # the largest first
    session.run(np.zeros((1, 3, height, width), np.float32))
    found.append(process.memory_info().rss)
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="psutil's resident memory is compared on Linux only")
def test_memory_does_not_grow_with_the_sizes_that_were_seen(tmp_path: Path) -> None:
    (folder,) = export(Request.of(seeds.spec(), ("openvino",), None, num_classes=seeds.CLASSES), tmp_path)
    command = [sys.executable, "-c", MEASURE, str(folder / "model.xml"), str(SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = json.loads(done.stdout)
    assert used[-1] - used[SETTLED] < MOST, [number >> 20 for number in used[::10]]
