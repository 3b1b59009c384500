"""Makes what run.py needs: .onnx files of this project, the native operators' library, inputs, and PyTorch's logits.

python -m tests.onnxruntime_oldest.make FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from mfedge.deploy import deploy, trace
from mfedge.kernels import find as native
from mfedge.zoo import build, load_spec, random_weights
from tests.support.models import reference, write

VARIANTS = ("26m", "214m")
SIZES = ((224, 224), (320, 256), (97, 161))


def main(folder: Path) -> None:
    """Write NAME-KERNELS-PRECISION.onnx (dynamic) and NAME.npz (inputs and logits by size) for each variant."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(native.path("onnxruntime"), folder)
    for variant in VARIANTS:
        network = random_weights(build(load_spec(variant)))
        for kernels in native.KERNELS:
            program = trace(deploy(network, kernels=kernels), 224, 256, dynamic=True)
            for precision in ("fp32", "fp16"):
                write(program, folder / f"{variant}-{kernels}-{precision}.onnx", precision)
        arrays = {}
        for height, width in SIZES:
            images = np.random.default_rng(height).standard_normal((1, 3, height, width)).astype(np.float32)
            arrays[f"images_{height}x{width}"] = images
            arrays[f"logits_{height}x{width}"] = reference(network, images)
        np.savez(folder / f"{variant}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
