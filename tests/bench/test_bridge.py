"""What the bridge costs: the operators alone agree, the trace without them has none, a row has what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mfedge import zoo
from mfedge.bench.studies import bridge
from mfedge.deploy import deploy
from mfedge.deploy.trace import trace
from mfedge.kernels import find as native
from tests.kernels.build import SOURCES, missing_tools

COUNTED = """
import msgspec, numpy as np
from mfedge import zoo
from mfedge.bench.studies import bridge
from mfedge.deploy import deploy
from mfedge.deploy.trace import trace

network = zoo.build(zoo.load_spec(bridge.VARIANT)).eval()
session = bridge.Bound(bridge.lowered(trace(deploy(network, kernels="native"), 64, 64)))
outputs = []
for copies in (False, True, False):
    bridge.counter().copy(copies)
    session.run()
    outputs.append(session.outputs()[0].copy())
assert np.isfinite(outputs[1]).all(), "with a plain copy in place of Mobile<-Former the network is one still"
assert np.array_equal(outputs[0], outputs[2]) and not np.array_equal(outputs[0], outputs[1])
row = bridge.measure(64, 6)
print(msgspec.json.encode([row, bridge.describe(row)]).decode())
"""

pytestmark = pytest.mark.skipif(native.find("onnxruntime") is None, reason="native kernels are not built")


def test_every_cross_attention_is_found_and_taken_out() -> None:
    program = trace(deploy(zoo.build(zoo.load_spec("26m")).eval()), 64, 64)
    directions = [direction for direction, _ in bridge.attentions(program)]
    assert directions.count("former_to_mobile") >= 8
    assert directions.count("mobile_to_former") == directions.count("former_to_mobile") + 1, "the head's"
    image = torch.randn(1, 3, 64, 64)
    before = program.module()(image)
    rest = bridge.without_bridge(program)
    assert not bridge.attentions(rest)
    after = rest.module()(image)
    assert after.shape == before.shape and not torch.allclose(after, before)


def test_a_row_of_the_operators_alone_and_in_their_place() -> None:
    """The two kinds of an operator are held against each other in `measure`."""
    row = bridge.measure(48, 6)
    assert row.operators == 23 and row.size == 48
    assert row.alone_speedup is not None and row.alone_speedup.rounds == 6
    assert 0 < row.portable_bridge_seconds < row.portable_seconds
    assert 0 < row.portable_operators < 1
    assert row.to_former is row.to_mobile is row.copying is None, "the library that is installed does not count"
    assert "does not count" in bridge.describe(row)


@pytest.mark.slow
@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
def test_a_library_that_counts(tmp_path: Path) -> None:
    """Each direction and the copy take a part of the time; the copy is there only while it is asked for."""
    configure = [
        "cmake",
        "-S",
        str(SOURCES),
        "-B",
        str(tmp_path),
        "-DMFEDGE_COUNT=ON",
        f"-DMFEDGE_LIB={tmp_path / 'lib'}",
    ]
    targets = ["--target", "kernels_shared", "--target", "binding_onnxruntime"]
    for command in (configure, ["cmake", "--build", str(tmp_path), *targets]):
        subprocess.run(command, check=True, capture_output=True)
    environment = os.environ | {"MFEDGE_NATIVE_LIB": str(tmp_path / "lib")}
    done = subprocess.run([sys.executable, "-c", COUNTED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row, line = json.loads(done.stdout)
    assert "more than a copy" in line
    for part in ("to_former", "to_mobile", "copying"):
        assert 0 < row[part]["estimate"] < 0.5, part
