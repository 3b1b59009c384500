"""Image files → network input: decoded safely, resized, cropped, normalised."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from mfedge.arrays import Array
from mfedge.errors import InputError
from mfedge.workers import foreign

MAX_PIXELS = 100_000_000  # a 100-megapixel photograph; more is a decompression bomb or a mistake
# What cameras and browsers write. Pillow knows more, some of which start another program to read a file.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
CODECS = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # that a Pillow may have been built without
Fraction = Annotated[float, Meta(ge=0.1, le=1)]  # with less, what is cropped away is a hundred times the input
Mean = Annotated[float, Meta(ge=-1e3, le=1e3)]
Deviation = Annotated[float, Meta(ge=1e-3, le=1e3)]
Pixels = NDArray[np.uint8]


class Preprocessing(Struct, frozen=True, forbid_unknown_fields=True):
    """How a photograph becomes a network's input; travels in every manifest.

    Resized so that H×W is the centre `crop` of it, cropped, scaled to [0, 1], normalised per channel.
    """

    crop: Fraction = 0.875
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[Mean, Mean, Mean] = (0.485, 0.456, 0.406)  # of ImageNet, RGB
    std: tuple[Deviation, Deviation, Deviation] = (0.229, 0.224, 0.225)


def load_image(path: Path) -> Image.Image:
    """Decode an image file to RGB, turned as its EXIF orientation says.

    Greyscale, palette, CMYK and 16-bit images are converted; transparent pixels lie on white; of an
    animation it is the first frame.

    Raises:
        InputError: no such file, not an image, truncated, or larger than 100 megapixels.
    """
    if not os.path.isfile(path):  # False too of a name that no file can have
        raise InputError(f"{path}: no such file; expected a photograph ({', '.join(FORMATS[:3])}, …)")
    with foreign.opening("Pillow", path, InputError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = Image.open(path, formats=[name for name in FORMATS if features.check(CODECS.get(name, "pil"))])
        except UnidentifiedImageError:
            raise InputError(f"{path}: not an image of a known kind: {', '.join(FORMATS)}") from None
        with file:
            if file.width * file.height > MAX_PIXELS:
                raise InputError(f"{path}: {file.width}x{file.height}; expected at most {MAX_PIXELS:,} pixels")
            return _to_rgb(ImageOps.exif_transpose(file))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I;16", "I", "F")):
        values = np.nan_to_num(np.asarray(image, np.float32))
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((values.clip(0, top, out=values) * np.float32(255 / top)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def preprocess(image: Image.Image, height: int, width: int, how: Preprocessing) -> Array:
    """An RGB image as network input.

    Args:
        image: of any size.
        height: of the input, pixels.
        width: as `height`.
        how: crop, interpolation and normalisation.

    Returns:
        (1, 3, height, width) float32.
    """
    return normalise(crop(image, height, width, how), how)


def crop(image: Image.Image, height: int, width: int, how: Preprocessing) -> Pixels:
    """The pixels of an RGB image that the network will see, (height, width, 3) bytes: resized, then cropped."""
    # An extreme panorama would be enlarged far beyond memory: its centre has to do.
    image = _limit_aspect(image, height, width)
    # The smallest resize that keeps the aspect ratio and covers the input enlarged by 1/crop.
    scale = max(height / how.crop / image.height, width / how.crop / image.width)
    size = max(width, math.floor(image.width * scale + 0.5)), max(height, math.floor(image.height * scale + 0.5))
    resampling = Image.Resampling.BICUBIC if how.interpolation == "bicubic" else Image.Resampling.BILINEAR
    resized = image.resize(size, resampling)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(resized.crop((left, top, left + width, top + height)))


def normalise(pixels: Pixels, how: Preprocessing) -> Array:
    """Bytes scaled to [0, 1] and normalised per channel: (H, W, 3) → (1, 3, H, W) float32."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def photograph() -> Path:
    """A real photograph, which files are proven with: Grace Hopper, by the United States Navy, in the public domain."""
    return Path(__file__).parent / "photograph.jpg"


def _limit_aspect(image: Image.Image, height: int, width: int, limit: float = 8.0) -> Image.Image:
    """The centre of an image whose aspect ratio is more than `limit` times the input's."""
    ratio = (image.width / image.height) / (width / height)
    if ratio > limit:
        keep = max(1, round(image.width * limit / ratio))
        left = (image.width - keep) // 2
        return image.crop((left, 0, left + keep, image.height))
    if ratio < 1 / limit:
        keep = max(1, round(image.height * limit * ratio))
        top = (image.height - keep) // 2
        return image.crop((0, top, image.width, top + keep))
    return image
