"""One `torch.export` trace of the deployed network: what every lowering reads."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

# Pixels a side that the trace promises. At 32 the last map is 1×1, which torch.export treats as a case of its
# own; nothing that a lowering writes depends on it, and parity proves the files at 32 as well.
MIN_SIZE, MAX_SIZE = 33, 4096


def trace(network: nn.Module, height: int, width: int, dynamic: bool = False) -> ExportedProgram:
    """Trace a (deployed) network at batch 1.

    Args:
        network: (1, 3, H, W) → (1, classes).
        height: pixels; of the example where `dynamic`.
        width: as `height`.
        dynamic: leave H and W open, each from 33 to 4096.

    Returns:
        A program whose graph has one node for each fused operator and for each layer.
    """
    example = torch.zeros(1, 3, height, width)
    shapes = {2: Dim("height", min=MIN_SIZE, max=MAX_SIZE), 3: Dim("width", min=MIN_SIZE, max=MAX_SIZE)}
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(shapes if dynamic else None,), strict=False)
