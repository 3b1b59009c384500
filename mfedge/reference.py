"""PyTorch, eager: the reference every artifact is compared with. Its model file is the variant's TOML.

A file named NAME.native.toml is the same spec, run as one native operator a block; the bench writes such files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mfedge.runtimes.base import Array, Metadata

NAME = "torch"
SUFFIX = ".toml"
NATIVE_SUFFIX = ".native.toml"


def version() -> str:
    return torch.__version__


def load(path: Path, threads: int = 1) -> TorchSession:
    """The variant's deployed network with the random weights every command falls back to."""
    from mfedge.deploy import deploy
    from mfedge.zoo import build, load_spec, random_weights

    network = random_weights(build(load_spec(str(path.resolve()))))
    if path.name.endswith(NATIVE_SUFFIX):
        return _native(deploy(network, kernels="native"), threads)
    return TorchSession(deploy(network), threads)


def _native(network: nn.Module, threads: int) -> TorchSession:
    """Raises MissingRuntimeError where the references would run in place of the native kernels."""
    from mfedge.errors import MissingRuntimeError
    from mfedge.kernels import library

    library.load()
    if not library.enabled():
        raise MissingRuntimeError("native kernels: switched off by MFEDGE_NATIVE=0; unset it to run them in PyTorch")
    return TorchSession(network, threads, f"native kernels, {library.isa()}")


class TorchSession:
    """Runs any network of `mfedge.nn`, or a deployed one. Sets PyTorch's thread count for the whole process."""

    def __init__(self, network: nn.Module, threads: int = 1, kernels: str = "") -> None:
        torch.set_num_threads(threads)
        self.network = network.eval()
        shape = (None, 3, None, None)
        execution = ", ".join(filter(None, ("CPU, eager, float32", kernels)))
        self.metadata = Metadata(NAME, version(), shape, "NCHW", threads, execution)

    def run(self, images: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(self.network(self.prepare(images)).numpy())

    def prepare(self, images: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        with torch.inference_mode():
            self.network(prepared)
