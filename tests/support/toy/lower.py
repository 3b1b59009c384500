"""Written as arrays of numpy: one convolution, one Linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from mfedge.errors import UnknownOperatorError
from mfedge.precisions import Precision

aten = torch.ops.aten
RULES = {aten.conv2d.default: "conv", aten.relu.default: "relu", aten.mean.dim: "mean", aten.linear.default: "linear"}
STORES = ("float32",)


def write(program: ExportedProgram, path: Path, precision: Precision, outputs: Sequence[str]) -> None:
    """Write `path`."""
    operators = [node.target for node in program.graph.nodes if node.op == "call_function"]
    for target in operators:
        if target not in RULES:
            raise UnknownOperatorError(target, f"toy: cannot lower operator {target}")
    arrays = {name.replace(".", "_"): value.detach().numpy() for name, value in program.state_dict.items()}
    images = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"][-1]
    sides = [side if isinstance(side, int) else 0 for side in images[2:]]  # 0 is dynamic
    names = {
        "sides": np.array(sides),
        "operators": np.array([RULES[target] for target in operators]),
        "outputs": np.array(outputs),
    }
    with path.open("wb") as file:
        np.savez(file, **arrays, **names)
