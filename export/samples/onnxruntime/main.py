"""Classifies a photograph with a native artifact; needs onnxruntime, numpy and Pillow, nothing of mfedge:

python main.py ARTIFACT libmfedge_onnxruntime.so photo.jpg
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main(artifact: Path, library: Path, photo: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the native operators run on the thread that calls
    options.register_custom_ops_library(str(library))  # without this line the file does not load
    session = onnxruntime.InferenceSession(artifact / manifest["model"], options, providers=["CPUExecutionProvider"])

    # As the manifest says: H×W is the centre `crop` of the photograph, normalised per channel.
    how = manifest["preprocessing"]
    height, width = (size or 224 for size in manifest["input"]["shape"][2:])  # null: any size
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    scale = max(height / how["crop"] / image.height, width / how["crop"] / image.width)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
    pixels = (pixels - np.float32(how["mean"])) / np.float32(how["std"])

    (logits,) = session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})
    labels = (artifact / manifest["labels"]).read_text().splitlines() if manifest["labels"] else None
    odds = np.exp(logits[0] - logits[0].max())
    for i in np.argsort(odds)[:-6:-1]:
        print(f"{odds[i] / odds.sum():.3f} {labels[i] if labels else i}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
