"""PyTorch, eager: the reference every artifact is compared with. Its model file is the variant's TOML.

A file named NAME.native.toml is the same spec, run as one native operator per block; the bench writes such files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mfedge.arrays import Array
from mfedge.runtimes.base import Metadata

NAME = "torch"
NATIVE_SUFFIX = ".native.toml"


def version() -> str:
    return str(torch.__version__)


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
    return TorchSession(network, threads, library.isa())


def outputs_of(network: nn.Module) -> tuple[str, ...]:
    """The names of a network's outputs, in order: those of its family's task."""
    from mfedge.families.spec import Spec
    from mfedge.families.table import family_of
    from mfedge.tasks.table import TASKS

    spec = network.meta["spec"] if isinstance(network, fx.GraphModule) else network.spec
    assert isinstance(spec, Spec)
    return tuple(TASKS[family_of(spec).task].outputs)


class TorchSession:
    """Runs any network of `mfedge.nn`, or a deployed one. Sets PyTorch's thread count for the whole process."""

    def __init__(self, network: nn.Module, threads: int = 1, isa: str | None = None) -> None:
        torch.set_num_threads(threads)
        self.network = network.eval()
        self.outputs = outputs_of(network)
        self.metadata = Metadata(
            runtime=NAME,
            version=version(),
            input_shape=(None, 3, None, None),
            layout="NCHW",
            outputs=self.outputs,
            threads=threads,
            provider="CPU, eager",
            compute="float32",
            stored="float32",
            kernels="portable" if isa is None else "native",
            isa=isa,
        )

    def run(self, images: Array) -> dict[str, Array]:
        with torch.inference_mode():
            found = self.network(self.prepare(images))
        values = found.values() if isinstance(found, dict) else (found,)
        return {name: np.asarray(value.numpy()) for name, value in zip(self.outputs, values, strict=True)}

    def prepare(self, images: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        with torch.inference_mode():
            self.network(prepared)
