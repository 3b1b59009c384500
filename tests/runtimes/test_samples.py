"""The Python samples that an app starts from see what `mfedge predict` sees, in any picture, and say the same."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mfedge.data.images import Preprocessing, load_image, preprocess
from mfedge.kernels import find as native
from mfedge.predict import classify
from mfedge.runtimes.table import RUNTIMES

SAMPLES = Path(__file__).parents[2] / "export" / "samples"
STORED = Path(__file__).parents[1] / "data" / "artifacts" / "1"
FORMATS = {"litert": "tflite", "onnxruntime": "onnx", "openvino": "openvino"}


def sample(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"sample_{name}", SAMPLES / name / "main.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def pictures(folder: Path) -> list[Path]:
    """Odd in size, of every kind that a step of the preprocessing is for."""
    generator = np.random.default_rng(5)
    noise = Image.fromarray(generator.integers(0, 256, (61, 90, 4), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {
        "plain.png": (noise.convert("RGB"), {}),
        "transparent.png": (noise, {}),
        "grey-transparent.png": (noise.convert("LA"), {}),
        "palette.gif": (noise.convert("RGB").quantize(17), {"transparency": 3}),
        "rotated.jpg": (noise.convert("RGB"), {"exif": turned}),
        "print.tiff": (noise.convert("CMYK"), {}),
        "sixteen.png": (Image.fromarray(generator.integers(0, 65536, (50, 37), np.uint16)), {}),
        "dark.png": (Image.fromarray(generator.integers(0, 200, (50, 37), np.uint16)), {}),
        "float.tiff": (Image.fromarray(generator.uniform(-20, 300, (40, 40)).astype(np.float32)), {}),
        "bits.png": (noise.convert("1"), {}),
        "tall.png": (noise.convert("RGB").resize((20, 85)), {}),
    }
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
    return [folder / name for name in made]


@pytest.mark.parametrize(
    "how", [Preprocessing(), Preprocessing(crop=0.7, interpolation="bilinear")], ids=["own", "other"]
)
def test_the_samples_see_the_same_pixels(how: Preprocessing, tmp_path: Path) -> None:
    module = sample("onnxruntime")
    plain = {"crop": how.crop, "interpolation": how.interpolation, "mean": list(how.mean), "std": list(how.std)}
    for path in pictures(tmp_path):
        for height, width in ((32, 48), (97, 65)):
            expected = preprocess(load_image(path), height, width, how)
            found = module.preprocess(path, plain, height, width)
            assert np.array_equal(found.transpose(2, 0, 1)[None], expected), path.name


def test_the_steps_are_the_same_text_in_every_sample() -> None:
    texts = {inspect.getsource(sample(name).preprocess) for name in FORMATS}
    assert len(texts) == 1


@pytest.mark.skipif(native.find("kernels") is None, reason="the kernels are not built")
@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_says_what_predict_says(name: str, tmp_path: Path) -> None:
    folder = STORED / f"tiny-32x48-fp32-native-{FORMATS[name]}"
    library = native.path(str(RUNTIMES[name].kernels))
    photo = next(path for path in pictures(tmp_path) if path.name == "transparent.png")
    command = [sys.executable, SAMPLES / name / "main.py", folder, library, photo]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{guess.probability:.3f} {guess.index}" for guess in classify(folder, photo).classes
    ]
