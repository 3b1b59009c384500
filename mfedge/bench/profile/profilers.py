"""Seconds of every operator, from each runtime's own profiler.

A profiler is a function (path, images, runs, graph) → Measured, which the runtime's row names.
"""

from __future__ import annotations

import json
import operator
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from mfedge.formats.graph import Graph
from mfedge.workers import foreign

Images = np.ndarray[Any, Any]


class Timed(Struct, frozen=True):
    """One operator of one inference."""

    name: str
    type: str
    seconds: float | None
    madds: int | None = None  # where the profiler knows it better than the file
    bytes: int | None = None
    origins: tuple[str, ...] = ()  # operators of the file that it stands for; none: the one of its own name


class Measured(Struct, frozen=True):
    """What a profiler says."""

    operators: tuple[Timed, ...]
    seconds: float | None  # of a whole inference while it was on
    source: str


def onnxruntime(path: Path, images: Images, runs: int, graph: Graph | None) -> Measured:
    """onnxruntime's own profile: kernels after its optimisations; fused ones keep one name."""
    assert graph is not None, "a file of onnxruntime's has been read"
    import onnxruntime as library

    from mfedge.runtimes.onnxruntime import is_native, register

    with tempfile.TemporaryDirectory() as folder:
        options = library.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if is_native(path):
            register(options)
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: images}
        session.run(None, feed)
        whole = _repeat(lambda: session.run(None, feed), runs)
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels: dict[str, tuple[str, list[float]]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            kind = str(event["args"].get("op_name", ""))
            kernels.setdefault(name.removesuffix("_kernel_time"), (kind, []))[1].append(event["dur"] / 1e6)
    timed = tuple(
        Timed(*_origin(name, kind, graph), _per_run(seconds, runs + 1)) for name, (kind, seconds) in kernels.items()
    )
    return Measured(timed, whole, "Times from onnxruntime's profiler (whole microseconds a kernel).")


def openvino(path: Path, images: Images, runs: int, graph: Graph | None) -> Measured:
    """OpenVINO's performance counters: what was fused away has no line; float32 asked for, as in the bench."""
    import openvino as library

    from mfedge.runtimes.openvino import core_for

    config = {
        "PERF_COUNT": True, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }  # fmt: skip
    core = core_for(path)
    compiled = core.compile_model(core.read_model(str(path)), "CPU", config)
    request = compiled.create_infer_request()
    tensor = library.Tensor(images)
    request.infer({0: tensor})
    counters: dict[str, tuple[str, list[float]]] = {}

    def once() -> None:
        request.infer({0: tensor}, share_inputs=True, share_outputs=True)

    seconds = []
    for _ in range(runs):
        foreign.alive()
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
        for entry in request.profiling_info:
            if "EXECUTED" in str(entry.status) and entry.node_type not in ("Parameter", "Result", "Constant"):
                spent = entry.real_time.total_seconds()
                counters.setdefault(entry.node_name, (entry.node_type, []))[1].append(spent)
    origins = _fused(compiled)
    timed = tuple(
        Timed(name, kind, _per_run(spent, runs), origins=origins.get(name, ()))
        for name, (kind, spent) in counters.items()
    )
    return Measured(timed, statistics.median(seconds), "Times from OpenVINO's performance counters, float32.")


def torch(path: Path, images: Images, runs: int, graph: Graph | None) -> Measured:
    """Eager PyTorch, layer by layer of the deployed network; multiply-adds by PyTorch's own counter."""
    import torch as library
    from torch import fx
    from torch.utils.flop_counter import FlopCounterMode

    from mfedge.runtimes import load

    session: Any = load(path, runtime="torch", threads=1)
    prepared = session.prepare(images)
    spent: dict[str, tuple[str, list[float]]] = {}
    counted: dict[str, tuple[int, int]] = {}

    class Clock(fx.Interpreter):
        """Times each node."""

        def run_node(self, n: fx.Node) -> Any:
            if not _computes(n):
                return super().run_node(n)
            start = time.perf_counter()
            result = super().run_node(n)
            seconds = time.perf_counter() - start
            kind = (
                type(self.module.get_submodule(str(n.target))).__name__ if n.op == "call_module" else _called(n.target)
            )
            spent.setdefault(_module(n), (kind, []))[1].append(seconds)
            return result

    class Count(fx.Interpreter):
        """Counts each node's multiply-adds and bytes."""

        def run_node(self, n: fx.Node) -> Any:
            if not _computes(n):
                return super().run_node(n)
            with FlopCounterMode(display=False) as counter:
                result = super().run_node(n)
            tensors = [self.env[a] for a in n.all_input_nodes]
            if n.op == "call_module":
                layer = self.module.get_submodule(str(n.target))
                tensors += [*layer.parameters(), *layer.buffers()]
            tensors += list(result) if isinstance(result, (tuple, list)) else [result]
            size = sum(t.numel() * t.element_size() for t in tensors if isinstance(t, library.Tensor))
            madds, before = counted.get(_module(n), (0, 0))
            counted[_module(n)] = madds + counter.get_total_flops() // 2, before + size
            return result

    with library.inference_mode():
        Count(session.network, garbage_collect_values=False).run(prepared)
        clock = Clock(session.network)
        clock.run(prepared)
        spent.clear()
        whole = _repeat(lambda: clock.run(prepared), runs)
    timed = tuple(
        Timed(name, kind, _per_run(seconds, runs), *counted.get(name, (0, 0)))
        for name, (kind, seconds) in spent.items()
    )
    return Measured(timed, whole, "Times of PyTorch's layers, one after the other, Python's share included.")


def untimed(label: str, graph: Graph | None) -> Measured:
    """For a runtime without a profiler (LiteRT's Python package has none): the file's operators, without times."""
    return Measured(
        tuple(Timed(node.name, node.type, None) for node in (graph.nodes if graph else ())),
        None,
        f"{label}'s Python package offers no operator times: only the whole inference is measured, "
        "the operators are listed with what they compute and move.",
    )


def _origin(name: str, kind: str, graph: Graph) -> tuple[str, str]:
    """The file's name of a kernel: convolutions in blocked layout are called after their output, "v43_nchwc"."""
    if not name.endswith("_nchwc"):
        return name, kind
    producers = {output: node for node in graph.nodes for output in node.outputs}
    node = producers.get(name.removesuffix("_nchwc"))
    while node is not None and node.type != kind:  # an activation or sum that was fused into it comes after it
        node = next((producers[tensor] for tensor in node.inputs if tensor in producers), None)
    return (node.name if node else name), kind


def _fused(compiled: Any) -> dict[str, tuple[str, ...]]:
    """What each executed operator was made of, as the compiled model tells."""
    origins = {}
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if "originalLayersNames" in info:
            names = str(info["originalLayersNames"].astype(str))
            origins[op.get_friendly_name()] = tuple(name for name in names.split(",") if name)
    return origins


def _per_run(seconds: list[float], runs: int) -> float:
    """Of one inference: the median, or, of an operator that runs several times in one, the mean of their sums."""
    return statistics.median(seconds) if len(seconds) <= runs else sum(seconds) / runs


def _repeat(action: Callable[[], object], runs: int) -> float:
    """Median seconds of a run."""
    seconds = []
    for _ in range(runs):
        foreign.alive()
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _computes(node: Any) -> bool:
    """Whether a node is a step, and not an input, or one of several outputs that a step has."""
    if node.op == "call_function" and node.target is operator.getitem and isinstance(node.args[1], int):
        return False
    return node.op in ("call_module", "call_function", "call_method")


def _called(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _module(node: Any) -> str:
    """The path of the layer; a function's is the module it was written in, and its own name."""
    if node.op == "call_module":
        return str(node.target)
    owner, near = "", node
    for _ in range(4):  # a rewrite's own nodes have no stack: they belong where their input comes from
        stack = near.meta.get("nn_module_stack") or {}
        owner = str(near.target) if near.op == "call_module" else str(list(stack.values())[-1][0]) if stack else ""
        if owner or not near.all_input_nodes:
            break
        near = near.all_input_nodes[0]
    return f"{owner}/{node.name}" if owner else str(node.name)
