"""PyTorch, eager: the reference every artifact is compared with. Its model file is the variant's TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mfedge.runtimes.base import Array, Metadata

NAME = "torch"
SUFFIX = ".toml"


def version() -> str:
    return torch.__version__


def load(path: Path, threads: int = 1) -> TorchSession:
    """The variant's deployed network with the random weights every command falls back to."""
    from mfedge.deploy import deploy
    from mfedge.zoo import build, load_spec, random_weights

    return TorchSession(deploy(random_weights(build(load_spec(str(path.resolve()))))), threads)


class TorchSession:
    """Runs any network of `mfedge.nn`, or a deployed one. Sets PyTorch's thread count for the whole process."""

    def __init__(self, network: nn.Module, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.network = network.eval()
        shape = (None, 3, None, None)
        self.metadata = Metadata(NAME, version(), shape, "NCHW", threads, "CPU, eager, float32")

    def run(self, images: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(self.network(self.prepare(images)).numpy())

    def prepare(self, images: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        with torch.inference_mode():
            self.network(prepared)
