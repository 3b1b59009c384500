"""Runs in an environment of its own, with tflite-runtime 2.14 and numpy < 2 and nothing of this project:

python run.py FOLDER proves that the files of make.py compute there what PyTorch computed.
"""

import sys
from pathlib import Path

import numpy as np
from tflite_runtime.interpreter import Interpreter, load_delegate

BOUNDS = {
    "": 1e-4,
    "-fp16": 2e-2,
    "-native": 1e-4,
    "-native-fp16": 2e-2,
}  # of the largest logit, as in mfedge/formats/parity.py


def check(path: Path, arrays: "np.lib.npyio.NpzFile", bound: float) -> None:
    delegates = [load_delegate(str(path.with_name("delegate.so")))] if "-native" in path.name else []
    interpreter = Interpreter(str(path), num_threads=1, experimental_delegates=delegates)
    image, logit = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    for key in (key for key in arrays if key.startswith("images")):
        images, expected = arrays[key].transpose(0, 2, 3, 1), arrays[key.replace("images", "logits")]
        interpreter.resize_tensor_input(image, images.shape, strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image, np.ascontiguousarray(images))
        interpreter.invoke()
        error = np.abs(interpreter.get_tensor(logit) - expected).max() / np.abs(expected).max()
        print(f"{path.name} {key[7:]}: within {error:.1e} (bound {bound:g})")
        if not error <= bound:
            sys.exit(f"{path.name} {key[7:]}: expected within {bound:g}, found {error:.3g}")


def main(folder: Path) -> None:
    files = sorted(folder.glob("*.npz"))
    if not files:
        sys.exit(f"{folder}: nothing to check; run python -m tests.tflite_runtime.make {folder} first")
    for npz in files:
        for suffix, bound in BOUNDS.items():
            if "-native" in suffix and not (folder / f"{npz.stem}{suffix}.tflite").exists():
                continue  # a network or a machine without native kernels
            check(folder / f"{npz.stem}{suffix}.tflite", np.load(npz), bound)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
