"""What the bridge costs: both directions alone in onnxruntime, with native kernels and as the portable file has them.

    python -m mfedge.bench.bridge OUT.json [--sizes 224,512,1024] [--rounds 40]

All cross-attentions of Mobile-Former-214M become one file, side by side, for each kind of kernel. One round runs both,
and the whole network with native kernels, in a random order; one thread, one CPU, inputs and outputs bound. Alone an
operator reads a map and writes one, which a fused block does anyway: its share of the network is an upper bound.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from msgspec import Struct
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from mfedge import ops, zoo
from mfedge.bench import cases, environment, statistics, store
from mfedge.bench.statistics import Interval
from mfedge.deploy import deploy
from mfedge.deploy.trace import trace
from mfedge.exporters import onnx_native
from mfedge.exporters.onnx import OPSET, OnnxLowering, simplify
from mfedge.runtimes import onnxruntime as runtime

SCHEMA = "mfedge.bridge/1"
VARIANT = "mobile-former-214m"
HEADS, SCALE = 2, 1.0  # the scale is folded into the projections of an exported network


class Row(Struct, frozen=True):
    """One input size."""

    size: int
    operators: int  # cross-attentions of the network, both directions
    native_seconds: float  # all of them, median over rounds
    portable_seconds: float
    network_seconds: float  # the whole network with native kernels
    speedup: Interval | None  # portable / native
    share: Interval | None  # native / network


class Evidence(Struct, frozen=True):
    """One run."""

    schema: str
    variant: str
    environment: environment.Environment
    rows: tuple[Row, ...]


class Alone(nn.Module):
    """One cross-attention on a map, its tokens constant."""

    def __init__(self, direction: str, channels: int, tokens: int, generator: torch.Generator) -> None:
        super().__init__()
        self.direction = direction
        for name in ("key", "value"):
            self.register_buffer(name, torch.randn(1, tokens, channels, generator=generator))

    def forward(self, features: Tensor) -> Tensor:
        """(1, C, H, W) → the first of the tokens, (1, C), or the map."""
        if self.direction == "mobile_to_former":  # a trace's tokens have no batch, so all of them are no output
            return cast("Tensor", ops.mobile_to_former(features, self.key, HEADS, SCALE)[:, 0])
        return cast("Tensor", ops.former_to_mobile(features, self.key, self.value, HEADS, SCALE))


def attentions(size: int) -> list[tuple[str, torch.Size, int]]:
    """Direction, shape of the map and number of tokens of every cross-attention of the network at this input size."""
    program = trace(deploy(zoo.build(zoo.load_spec(VARIANT)).eval()), size, size)
    found = []
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", "").partition(".")[0]
        if name in ("mobile_to_former", "former_to_mobile"):
            features, tokens = (argument.meta["val"].shape for argument in node.args[:2])
            found.append((name, features, int(tokens[1])))
    return found


def native(alone: Alone, shape: torch.Size) -> onnx.ModelProto:
    """The same operator as one native node."""
    gathers = alone.direction == "mobile_to_former"
    inputs = ["key"] if gathers else ["key", "value"]
    out = alone.get_buffer("key").shape if gathers else shape
    node = helper.make_node(
        "".join(map(str.capitalize, alone.direction.split("_"))), ["features", *inputs], ["out"],
        domain=onnx_native.DOMAIN, heads=HEADS, scale=SCALE,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], alone.direction,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, list(out))],
        [numpy_helper.from_array(alone.get_buffer(name).numpy(), name) for name in inputs],
    )  # fmt: skip
    return helper.make_model(graph)


def portable(alone: Alone, shape: torch.Size) -> onnx.ModelProto:
    """The same operator as an export has it without native kernels."""
    with torch.no_grad():
        return ir.to_proto(
            simplify(OnnxLowering(torch.export.export(alone, (torch.zeros(shape),), strict=False)).model())
        )


def side_by_side(models: Sequence[onnx.ModelProto]) -> bytes:
    """One file of all of them."""
    graph = helper.make_graph([], "side by side", [], [])
    for i, model in enumerate(models):
        part = compose.add_prefix_graph(model.graph, f"{i}/")
        for field in ("node", "input", "output", "initializer"):
            getattr(graph, field).extend(getattr(part, field))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(onnx_native.DOMAIN, onnx_native.VERSION)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


class Bound:
    """A session whose random inputs and whose outputs stay where they are."""

    def __init__(self, model: bytes | str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        runtime.register(options)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def bind(self, size: int) -> None:
        """Random features; of the network, an image of this size."""
        generator = np.random.default_rng(size)
        for value in self._session.get_inputs():
            shape = [n if isinstance(n, int) else size for n in value.shape]
            self._binding.bind_cpu_input(value.name, generator.standard_normal(shape, dtype=np.float32))

    def run(self) -> None:
        """All of it, once."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[Any]:
        """Of the last run."""
        return list(self._binding.copy_outputs_to_cpu())


def measure(size: int, rounds: int, network: Path) -> Row:
    """All cross-attentions of one input size, those of both kinds checked against each other first.

    Raises:
        AssertionError: they disagree.
    """
    generator = torch.Generator().manual_seed(size)
    found = [(Alone(direction, shape[1], tokens, generator), shape) for direction, shape, tokens in attentions(size)]
    sessions = {
        kind.__name__: Bound(side_by_side([kind(alone, shape) for alone, shape in found]))
        for kind in (native, portable)
    }
    sessions["network"] = Bound(str(network))
    for session in sessions.values():
        session.bind(size)
        session.run()
    for first, second in zip(sessions["native"].outputs(), sessions["portable"].outputs(), strict=True):
        same = first if first.shape == second.shape else first[:, 0]
        assert np.abs(same - second).max() <= 1e-4 * np.abs(second).max(), first.shape

    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    order = random.Random(size)
    for _ in range(rounds):
        for name in order.sample(list(sessions), len(sessions)):
            sessions[name].run()  # the caches are its own again
            start = time.perf_counter()
            sessions[name].run()
            seconds[name].append(time.perf_counter() - start)

    def ratio(numerator: str, denominator: str) -> Interval | None:
        values = [math.log(a / b) for a, b in zip(seconds[numerator], seconds[denominator], strict=True)]
        result = statistics.interval([values])
        return result and result.exp()

    medians = {name: statistics.median([values]) for name, values in seconds.items()}
    return Row(
        size, len(found), medians["native"], medians["portable"], medians["network"],
        ratio("portable", "native"), ratio("native", "network"),
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    """Measure, print a line a size, store."""
    parser = argparse.ArgumentParser(prog="python -m mfedge.bench.bridge", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", default="224,384,512,768,1024")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    network = cases.find(cases.export(f"{VARIANT}@native", "onnxruntime"), "onnxruntime")
    assert network is not None
    cpu = environment.default_cpu()
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    rows: list[Row] = []
    for size in map(int, options.sizes.split(",")):
        rows.append(measure(size, options.rounds, network))
        row = rows[-1]
        assert row.speedup and row.share, "needs six rounds"
        print(
            f"{size} px, {row.operators} cross-attentions: native {row.native_seconds * 1e3:.2f} ms, portable "
            f"{row.portable_seconds * 1e3:.2f} ms, {row.speedup.estimate:.1f}x ({row.speedup.low:.1f} - "
            f"{row.speedup.high:.1f}); native is {row.share.estimate:.1%} of the network",
            file=sys.stderr,
        )
    evidence = Evidence(SCHEMA, VARIANT, environment.capture(cpu), tuple(rows))
    store.write(options.output, msgspec.json.format(msgspec.json.encode(evidence), indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
