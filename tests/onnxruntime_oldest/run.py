"""Runs in an environment of its own, with the oldest onnxruntime that pyproject.toml allows, without this project:

python run.py FOLDER proves that the files of make.py compute there what PyTorch computed.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

BOUNDS = {"fp32": 1e-4, "fp16": 2e-2}  # of the largest logit, as in mfedge/formats/parity.py


def check(path: Path, library: Path, arrays: "np.lib.npyio.NpzFile") -> None:
    _, kernels, precision = path.stem.split("-")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if kernels == "native":
        options.register_custom_ops_library(str(library))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for key in (key for key in arrays if key.startswith("images")):
        expected = arrays[key.replace("images", "logits")]
        (found,) = session.run(None, {"images": arrays[key]})
        error = np.abs(found - expected).max() / np.abs(expected).max()
        bound = BOUNDS[precision]
        print(f"onnxruntime {onnxruntime.__version__}: {path.name} {key[7:]}: within {error:.1e} (bound {bound:g})")
        if not error <= bound:
            sys.exit(f"{path.name} {key[7:]}: expected within {bound:g}, found {error:.3g}")


def main(folder: Path) -> None:
    files = sorted(folder.glob("*.onnx"))
    if not files:
        sys.exit(f"{folder}: nothing to check; run python -m tests.onnxruntime_oldest.make {folder} first")
    (library,) = folder.glob("*mfedge_onnxruntime*")
    for file in files:
        check(file, library, np.load(folder / f"{file.stem.split('-')[0]}.npz"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
