"""Makes what run.py needs: .tflite files of this project, inputs, and what PyTorch computes of them.

python -m tests.tflite_runtime.make FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mfedge.deploy import deploy, trace
from mfedge.kernels import find as native
from mfedge.nn import MobileFormer
from mfedge.zoo import build, load_spec, random_weights
from tests.support.models import reference, write

VARIANTS = ("26m", "214m", "mobilenet-v3-large")
SIZES = ((224, 224), (320, 256), (97, 161))


def main(folder: Path) -> None:
    """Write NAME.tflite (dynamic), NAME-fp16.tflite and NAME.npz (inputs and logits by size) for each variant.

    And NAME-native.tflite, NAME-native-fp16.tflite beside a link to the delegate, where the kernels are built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    delegate = native.find("litert")
    (folder / "delegate.so").unlink(missing_ok=True)
    if delegate is not None:
        (folder / "delegate.so").symlink_to(delegate.resolve())
    for variant in VARIANTS:
        network = random_weights(build(load_spec(variant)))
        program = trace(deploy(network), 224, 256, dynamic=True)
        write(program, folder / f"{variant}.tflite")
        write(program, folder / f"{variant}-fp16.tflite", "fp16")
        if delegate is not None and isinstance(network, MobileFormer):
            program = trace(deploy(network, kernels="native"), 224, 256, dynamic=True)
            write(program, folder / f"{variant}-native.tflite")
            write(program, folder / f"{variant}-native-fp16.tflite", "fp16")
        arrays = {}
        for height, width in SIZES:
            images = np.random.default_rng(height).standard_normal((1, 3, height, width)).astype(np.float32)
            arrays[f"images_{height}x{width}"] = images
            arrays[f"logits_{height}x{width}"] = reference(network, images)
        np.savez(folder / f"{variant}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
