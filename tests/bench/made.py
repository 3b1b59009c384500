"""A result as a run would store it, made up: ratios that fall with size, drift that hits all alike."""

from __future__ import annotations

import math
import random

from mfedge.bench.measure import environment
from mfedge.bench.results.schema import SCHEMA, CaseResult, Load, Protocol, Result, Status, Visit
from mfedge.runtimes.base import Metadata
from mfedge.sizes import Size

RATIO = {"torch": (1.6, 640), "onnxruntime": (1.7, 2600), "openvino": (1.6, 880), "litert": (1.5, 800)}
SPEED = {"torch": 0.016, "onnxruntime": 0.0065, "openvino": 0.0058, "litert": 0.0062}


def made_executed(runtime: str, compute: str = "float32") -> Metadata:
    """What a session of the runtime says of itself."""
    return Metadata(runtime, "1.0", (1, 3, None, None), "NCHW", ("logits",), 1, "CPU", compute)


def made_result(
    sides: tuple[int, ...] = (224, 304, 384, 464, 544, 624, 704, 784, 864, 944, 1024),
    runtimes: tuple[str, ...] = ("torch", "onnxruntime", "openvino", "litert"),
    rounds: int = 12,
    seed: int = 0,
    scale: float = 1.0,
) -> Result:
    """MF / MN falls along a straight line in log(size) from RATIO's first value at 224 to 1 at its second."""
    generator = random.Random(seed)
    cases = []
    for side in sides:
        drift = [1 + 0.4 * generator.random() for _ in range(rounds)]
        for runtime in runtimes:
            first, cross = RATIO[runtime]
            log_ratio = math.log(first) * (1 - math.log(side / 224) / math.log(cross / 224))
            for model, factor in (("mobile-former-214m", math.exp(log_ratio) * scale), ("mobilenet-v3-large", 1.0)):
                seconds = SPEED[runtime] * (side / 224) ** 2 * factor
                visits = tuple(
                    Visit(0, i, 0, tuple(seconds * drift[i] * generator.gauss(1, 0.03) for _ in range(6)))
                    for i in range(rounds)
                )
                load = Load(0.05, seconds * 3, (seconds,) * 6, True, 1, 150 << 20, 80 << 20, 2, 1, (1,))
                status: Status = "ok"
                cases.append(
                    CaseResult(
                        model,
                        runtime,
                        Size(side, side),
                        "model.onnx",
                        "0" * 64,
                        37 << 20,
                        status,
                        executed=Metadata(runtime, "1.0", (1, 3, None, None), "NCHW", ("logits",), 1, "CPU", "float32"),
                        batch_norms=0,
                        loads=(load,),
                        visits=visits,
                    )
                )
    calm = environment.Moment(load1=0.0, clock_mhz=None, probe_seconds=1e-3, steal_seconds=0.0, busy_seconds=0.0)
    return Result(
        SCHEMA, "made up", "2026-01-01T00:00:00+00:00", 540.0, "mobilenet-v3-large", Protocol(cpu=1),
        environment.capture(1), calm, calm, True, "made up", tuple(cases),
    )  # fmt: skip
