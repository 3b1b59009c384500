"""What the bridge costs in onnxruntime: in its place in the network, and its operators alone.

    python -m mfedge.bench.studies.bridge OUT.json [--sizes 224 512 1024] [--rounds 40]

Two measures, each for both kinds of kernels. The time in its operators, what they write included: portable, by
onnxruntime's profiler; native, counted where it runs, if the library can count:

    cmake -S mfedge/kernels -B build/count -DMFEDGE_COUNT=ON -DMFEDGE_LIB=$PWD/build/count/lib
    cmake --build build/count && MFEDGE_NATIVE_LIB=$PWD/build/count/lib python -m mfedge.bench.studies.bridge OUT.json

And what the network takes more than without it: portable, than without its cross-attentions and the projections that
only they need; native, what is counted, less what is counted with a plain copy in place of Mobile←Former, as a block
without a bridge writes its output too.

Alone, all cross-attentions become one file, side by side, for each kind of kernel; there each reads a map and writes
one, which a fused block does anyway. One round runs everything in a random order; one thread, one CPU, tensors bound.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from msgspec import Struct
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from mfedge import files as store
from mfedge import ops, zoo
from mfedge.bench import stored
from mfedge.bench.measure import environment
from mfedge.bench.profile import profilers
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.intervals import Interval
from mfedge.cli import console
from mfedge.deploy import deploy
from mfedge.deploy.trace import trace
from mfedge.formats.onnx import fused as onnx_native
from mfedge.formats.onnx.lower import OPSET, write
from mfedge.formats.table import read_graph
from mfedge.kernels import find as native_libraries
from mfedge.precisions import PRECISIONS
from mfedge.runtimes import onnxruntime as runtime
from mfedge.sizes import Size

SCHEMA = "mfedge.bridge/2"
VARIANT = "mobile-former-214m"
GATHER, SCATTER = torch.ops.mfedge.mobile_to_former.default, torch.ops.mfedge.former_to_mobile.default
HEADS, SCALE = 2, 1.0  # the scale is folded into the projections of an exported network
ATTENTION = re.compile(r"\b(mobile_to_former|former_to_mobile)\.\1/")  # a portable cross-attention's operators


class Row(Struct, frozen=True):
    """One input size; medians over rounds, intervals of ratios within rounds."""

    size: int
    operators: int  # cross-attentions of the network, both directions
    alone_native_seconds: float  # all of them
    alone_portable_seconds: float
    alone_speedup: Interval | None  # portable / native
    native_seconds: float  # the whole network with native kernels
    portable_seconds: float  # and without
    portable_operators: float  # share of the portable network's time that its cross-attentions take
    portable_bridge_seconds: float  # what the portable network takes more than without a bridge
    to_former: Interval | None  # share of the native network's time that Mobile→Former takes; None: not counted
    to_mobile: Interval | None  # Mobile←Former, the writing of the block's output included
    copying: Interval | None  # a plain copy in its place


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


def attentions(program: ExportedProgram) -> list[tuple[str, fx.Node]]:
    """Every cross-attention of a trace, and its direction."""
    names = {target: str(target.overloadpacket.__name__) for target in (GATHER, SCATTER)}
    return [(names[node.target], node) for node in program.graph.nodes if node.target in names]


def standing_alone(direction: str, node: fx.Node, generator: torch.Generator) -> tuple[Alone, torch.Size]:
    """The same cross-attention with random tokens, and the shape of its map."""
    features, tokens = (argument.meta["val"].shape for argument in node.args[:2])  # type: ignore[union-attr]  # are nodes
    return Alone(direction, features[1], tokens[1], generator), features


def without_bridge(program: ExportedProgram) -> ExportedProgram:
    """The trace with every cross-attention replaced by what has its shape: the query, or the map."""
    for _, node in attentions(program):
        node.replace_all_uses_with(node.args[1] if node.target is GATHER else node.args[0])  # type: ignore[arg-type]  # are nodes
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    return program


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
        program = torch.export.export(alone, (torch.zeros(shape),), strict=False)
    return onnx.load_from_string(lowered(program))


def lowered(program: ExportedProgram) -> bytes:
    """The ONNX file of a trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write(program, path, PRECISIONS["fp32"], ("out",))
        return path.read_bytes()


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

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        runtime.register(options)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        generator = np.random.default_rng(0)
        for value in self._session.get_inputs():
            self._binding.bind_cpu_input(value.name, generator.standard_normal(value.shape, dtype=np.float32))

    def run(self) -> None:
        """All of it, once."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[Any]:
        """Of the last run."""
        return list(self._binding.copy_outputs_to_cpu())


class Counter:
    """Ticks of the two directions and of everything, if the library counts them, with a plain copy in place of
    Mobile←Former or without."""

    def __init__(self) -> None:
        library = ctypes.CDLL(str(native_libraries.path("onnxruntime")))
        self._ticks = (ctypes.c_uint64 * 3).in_dll(library, "mfedge_ticks")
        self._copies = ctypes.c_int32.in_dll(library, "mfedge_copies")

    def ticks(self) -> list[int]:
        """So far."""
        return list(self._ticks)

    def copy(self, on: bool) -> None:
        """From now on."""
        self._copies.value = on


def counter() -> Counter | None:
    """None: this library does not count."""
    try:
        return Counter()
    except ValueError:
        return None


def operators_share(model: bytes, size: int, runs: int = 10) -> float:
    """Of a portable network's time, what its cross-attentions take by onnxruntime's profiler."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        images = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32)
        timed = profilers.onnxruntime(path, images, runs, read_graph(path, Size(size, size))).operators
    attention = sum(each.seconds or 0.0 for each in timed if ATTENTION.search(each.name))
    return attention / sum(each.seconds or 0.0 for each in timed)


def measure(size: int, rounds: int) -> Row:
    """Everything at one input size, the operators of both kinds checked against each other first.

    Raises:
        AssertionError: they disagree.
    """
    network = zoo.build(zoo.load_spec(VARIANT)).eval()
    program = trace(deploy(network), size, size)
    generator = torch.Generator().manual_seed(size)
    found = [standing_alone(direction, node, generator) for direction, node in attentions(program)]
    models = {
        "alone native": side_by_side([native(*each) for each in found]),
        "alone portable": side_by_side([portable(*each) for each in found]),
        "native": lowered(trace(deploy(network, kernels="native"), size, size)),
        "portable": lowered(program),
        "no bridge": lowered(without_bridge(program)),
    }
    sessions = {name: Bound(model) for name, model in models.items()}
    for session in sessions.values():
        session.run()
    for first, second in zip(sessions["alone native"].outputs(), sessions["alone portable"].outputs(), strict=True):
        same = first if first.shape == second.shape else first[:, 0]
        assert np.abs(same - second).max() <= 1e-4 * np.abs(second).max(), first.shape

    counts = counter()
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    shares: dict[str, list[float]] = {"to_former": [], "to_mobile": [], "copying": []}  # logarithms, as of every ratio
    cases = [*sessions, *(["copying"] if counts else [])]
    order = random.Random(size)
    for _ in range(rounds):
        for name in order.sample(cases, len(cases)):
            session = sessions["native" if name == "copying" else name]
            if counts:
                counts.copy(name == "copying")
            session.run()  # the caches are its own again
            before = counts.ticks() if counts else []
            start = time.perf_counter()
            session.run()
            if name != "copying":
                seconds[name].append(time.perf_counter() - start)
            if counts and name in ("native", "copying"):
                former, mobile, whole = (after - at for after, at in zip(counts.ticks(), before, strict=True))
                if name == "native":
                    shares["to_former"].append(math.log(former / whole))
                shares["to_mobile" if name == "native" else name].append(math.log(mobile / whole))
    if counts:
        counts.copy(False)

    def median(values: Iterable[float]) -> float:
        return statistics.median([list(values)])

    def interval(values: Iterable[float]) -> Interval | None:
        found = list(values)
        result = statistics.interval([found]) if found else None
        return result and result.exp()

    def pairs(first: str, second: str) -> Iterator[tuple[float, float]]:
        return zip(seconds[first], seconds[second], strict=True)

    return Row(
        size=size,
        operators=len(found),
        alone_native_seconds=median(seconds["alone native"]),
        alone_portable_seconds=median(seconds["alone portable"]),
        alone_speedup=interval(math.log(slow / fast) for slow, fast in pairs("alone portable", "alone native")),
        native_seconds=median(seconds["native"]),
        portable_seconds=median(seconds["portable"]),
        portable_operators=operators_share(models["portable"], size),
        portable_bridge_seconds=median(whole - rest for whole, rest in pairs("portable", "no bridge")),
        to_former=interval(shares["to_former"]),
        to_mobile=interval(shares["to_mobile"]),
        copying=interval(shares["copying"]),
    )


def describe(row: Row) -> str:
    """One line."""
    operators = row.portable_operators * row.portable_seconds
    line = (
        f"{row.size} px: portable {operators * 1e3:.2f} ms of operators, {row.portable_bridge_seconds * 1e3:.2f} more "
        f"than without, of {row.portable_seconds * 1e3:.2f}; {row.operators} operators alone "
        f"{row.alone_portable_seconds / row.alone_native_seconds:.1f}x as fast native"
    )
    if row.to_former is None or row.to_mobile is None or row.copying is None:
        return f"{line}; this library does not count"
    share = row.to_former.estimate + row.to_mobile.estimate
    more = share - row.copying.estimate
    return (
        f"{line}; native {row.to_former.estimate:.2%} + {row.to_mobile.estimate:.2%} of {row.native_seconds * 1e3:.2f} "
        f"ms, {operators / (share * row.native_seconds):.1f}x less; {more:.2%} more than a copy, "
        f"{row.portable_bridge_seconds / (more * row.native_seconds):.1f}x less"
    )


def main(arguments: list[str]) -> None:
    """Measure, print one line per size, store."""
    parser = argparse.ArgumentParser(
        prog="python -m mfedge.bench.studies.bridge", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 384, 512, 768, 1024])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    store.check_writable(options.output)
    cpu = environment.default_cpu()
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    rows: list[Row] = []
    for size in options.sizes:
        rows.append(measure(size, options.rounds))
        console.note(describe(rows[-1]))
    evidence = Evidence(SCHEMA, VARIANT, environment.capture(cpu), tuple(rows))
    store.write(options.output, stored.encode(evidence))


if __name__ == "__main__":
    main(sys.argv[1:])
