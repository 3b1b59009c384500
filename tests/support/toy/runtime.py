"""Runs the format's files, in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mfedge.arrays import Array
from mfedge.runtimes.base import Metadata


def version() -> str:
    return np.__version__


def load(path: Path, threads: int = 1) -> ToySession:
    return ToySession(path, threads)


class ToySession:
    """A 3×3 convolution of stride 2, ReLU, the mean over pixels, a Linear layer."""

    def __init__(self, path: Path, threads: int) -> None:
        arrays = np.load(path)
        self.arrays = {name: arrays[name] for name in arrays.files}
        self.output = str(self.arrays["outputs"][0])
        shape = (1, 3, *(int(side) or None for side in self.arrays["sides"]))
        self.metadata = Metadata("toy-runtime", version(), shape, "NCHW", (self.output,), threads, "numpy", "float32")

    def run(self, images: Array) -> dict[str, Array]:
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        x = np.einsum("bchwij,ocij->bohw", windows, self.arrays["stem_conv_weight"], optimize=True)
        x = np.maximum(x + self.arrays["stem_conv_bias"][:, None, None], 0).mean(axis=(2, 3))
        logits = x @ self.arrays["classifier_weight"].T + self.arrays["classifier_bias"]
        return {self.output: logits.astype(np.float32)}

    def prepare(self, images: Array) -> Any:
        return images

    def invoke(self, prepared: Any) -> None:
        self.run(prepared)
