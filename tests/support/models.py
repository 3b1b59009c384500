"""Model files in tests: written from a network, counted, run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from mfedge.arrays import Array
from mfedge.deploy import deploy, trace
from mfedge.formats.table import FORMATS, format_of
from mfedge.precisions import PRECISIONS
from mfedge.runtimes.base import Session
from mfedge.tasks.classify import LOGITS

EXAMPLE = (224, 256)  # the size a dynamic model is traced at


def write(program: ExportedProgram, path: Path, precision: str = "fp32") -> Path:
    """A classifier's trace as a model file; the format by the path's suffix."""
    format_of(path).write(program, path, PRECISIONS[precision], (LOGITS,))
    return path


def write_network(
    network: nn.Module,
    format_name: str,
    folder: Path,
    size: tuple[int, int] | None = (64, 96),
    precision: str = "fp32",
    kernels: str = "portable",
) -> Path:
    """A network as a model file in `folder`; `size` None is dynamic."""
    program = trace(deploy(network, kernels), *(size or EXAMPLE), dynamic=size is None)
    return write(program, folder / FORMATS[format_name].model_file, precision)


def count_operators(path: Path) -> dict[str, int]:
    """Operators by type."""
    return format_of(path).operators(path)


def logits(session: Session, images: Array) -> Array:
    """(B, 3, H, W) → (B, classes)."""
    return session.run(images)[LOGITS]


def reference(network: nn.Module, images: Array) -> Array:
    """What PyTorch computes: (B, 3, H, W) → (B, classes)."""
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(images)).numpy()
