"""Classifies a photograph with a native artifact; needs ai-edge-litert, numpy and Pillow, nothing of mfedge:

python main.py ARTIFACT libmfedge_litert.so photo.jpg

The same delegate serves every interpreter: in C it goes to TfLiteInterpreterOptionsAddDelegate, in Java and Kotlin a
Delegate's getNativeHandle() returns what tflite_plugin_create_delegate() made. It serves one interpreter.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate
from PIL import Image, ImageOps


def preprocess(photo: Path, how: dict, height: int, width: int) -> np.ndarray:
    """A photograph as (height, width, 3) float32, by the same steps as `mfedge predict`.

    H×W is the centre `crop` of it, normalised per channel, as the manifest's "preprocessing" says.
    """
    image = ImageOps.exif_transpose(Image.open(photo))
    if image.mode.startswith(("I", "F")):  # 16 bits of grey, or more
        values = np.asarray(image, np.float32)
        top = 65535 if values.max() > 255 else 255
        image = Image.fromarray((values.clip(0, top) * np.float32(255 / top)).round().astype(np.uint8))
    if image.has_transparency_data:  # transparent pixels lie on white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    scale = max(height / how["crop"] / image.height, width / how["crop"] / image.width)
    size = max(width, int(image.width * scale + 0.5)), max(height, int(image.height * scale + 0.5))
    image = image.resize(size, getattr(Image.Resampling, how["interpolation"].upper()))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
    return (pixels - np.float32(how["mean"])) / np.float32(how["std"])


def main(artifact: Path, library: Path, photo: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    delegate = load_delegate(str(library))  # without it the file does not load
    interpreter = Interpreter(str(artifact / manifest["model"]), experimental_delegates=[delegate])

    height, width = (size or 224 for size in manifest["input"]["shape"][1:3])  # null: any size
    pixels = preprocess(photo, manifest["preprocessing"], height, width)

    (images,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(images["index"], (1, height, width, 3), strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(images["index"], pixels[None])
    interpreter.invoke()
    logits = interpreter.get_tensor(output["index"])[0]

    labels = (artifact / manifest["labels"]).read_text().splitlines() if manifest["labels"] else None
    odds = np.exp(logits - logits.max())
    for i in np.argsort(odds)[:-6:-1]:
        print(f"{odds[i] / odds.sum():.3f} {labels[i] if labels else i}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
