"""Every common image file becomes an RGB image, every broken one a line, and any size a network input."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mfedge.errors import InputError
from mfedge.data.labels import labels_for
from mfedge.data.images import MAX_PIXELS, Preprocessing, load_image, preprocess

PLAIN = Preprocessing(crop=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
COLOUR = (200, 40, 90)


def saved(image: Image.Image, folder: Path, name: str = "photo.png", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], axis=2).astype(np.uint8))


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "gif", "jpg", "webp"])
def test_common_formats_are_read(suffix: str, tmp_path: Path) -> None:
    options = {"quality": 95} if suffix in ("jpg", "webp") else {}
    image = load_image(saved(Image.new("RGB", (24, 16), COLOUR), tmp_path, f"photo.{suffix}", **options))
    assert (image.mode, image.size) == ("RGB", (24, 16))
    np.testing.assert_allclose(np.asarray(image)[8, 12], COLOUR, atol=6)


TURNED = {
    1: lambda image: image,
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_an_image_is_turned_as_exif_says(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(saved(gradient(), tmp_path, exif=exif))
    assert np.array_equal(image, TURNED[orientation](gradient()))


def test_greyscale_and_palette_and_bilevel(tmp_path: Path) -> None:
    grey = load_image(saved(gradient().convert("L"), tmp_path))
    assert np.array_equal(grey, gradient().convert("L").convert("RGB"))
    palette = gradient().quantize(16)
    assert np.array_equal(load_image(saved(palette, tmp_path)), palette.convert("RGB"))
    assert set(np.unique(load_image(saved(gradient().convert("1"), tmp_path)))) == {0, 255}


def test_cmyk(tmp_path: Path) -> None:
    image = load_image(saved(Image.new("RGB", (24, 16), COLOUR).convert("CMYK"), tmp_path, "photo.tiff"))
    np.testing.assert_allclose(np.asarray(image)[0, 0], COLOUR, atol=3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16)
    image = np.asarray(load_image(saved(Image.fromarray(values), tmp_path)))
    np.testing.assert_allclose(image[..., 0], values / 257, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_lie_on_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    pixels = np.asarray(load_image(saved(image.convert(mode) if mode != "P" else image.quantize(4), tmp_path)))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert 120 <= pixels[0, 2, 0] <= 135


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (COLOUR, (0, 0, 0), (9, 9, 9))]
    image = load_image(saved(frames[0], tmp_path, "photo.gif", save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(np.asarray(image)[0, 0], COLOUR, atol=3)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1 << 16, 1 << 16, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")))
    refused(path)
    path.write_bytes(path.read_bytes().replace(header, struct.pack(">IIBBBBB", 10_001, 10_000, 8, 2, 0, 0, 0)))
    refused(path)
    assert MAX_PIXELS == 100_000_000


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_a_truncated_image_is_refused(suffix: str, keep: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = saved(Image.fromarray(noise), tmp_path, f"photo.{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path)


@pytest.mark.parametrize(
    "data", [b"", b"not an image", bytes(100), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"]
)
def test_what_is_no_image_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    refused(tmp_path / "photo.jpg")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.jpg")
    refused(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["png", "jpeg", "gif", "webp", "tiff", "bmp"]))
def test_a_damaged_image_never_raises_anything_else(data: st.DataObject, suffix: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    gradient().save(buffer, suffix)
    content = bytearray(buffer.getvalue())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)):
        content[at] = value
    path = tmp_path / "photo"
    path.write_bytes(content)
    try:
        image = load_image(path)
    except InputError as error:
        message = str(error)
    else:
        message = image.mode
    assert "\n" not in message


# preprocess


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(32, 200), st.integers(32, 200),
    st.floats(0.1, 1.0), st.sampled_from(["bicubic", "bilinear"]),
)  # fmt: skip
def test_any_image_becomes_any_input(w: int, h: int, height: int, width: int, crop: float, interpolation: Any) -> None:
    pixels = preprocess(Image.new("RGB", (w, h), COLOUR), height, width, Preprocessing(crop, interpolation))
    assert (pixels.shape, pixels.dtype) == ((1, 3, height, width), np.float32)
    assert pixels.flags.c_contiguous
    how = Preprocessing()
    expected = (np.array(COLOUR) / 255 - how.mean) / how.std
    np.testing.assert_allclose(pixels[0].transpose(1, 2, 0), np.broadcast_to(expected, (height, width, 3)), atol=1e-5)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = gradient(48, 32)
    pixels = preprocess(image, 32, 48, PLAIN)[0].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels, np.asarray(image) / 255, atol=1e-6)


def test_the_crop_is_the_centre_at_the_papers_fraction() -> None:
    image = Image.new("RGB", (256, 256))
    image.paste((255, 255, 255), (16, 16, 240, 240))  # 224 = 0.875 of 256: exactly what is kept
    how = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert preprocess(image, 224, 224, how).min() == 1
    assert preprocess(image, 224, 224, msgspec.structs.replace(how, crop=0.9)).min() == 0


@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_the_aspect_ratio_is_kept_and_the_centre_too(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    centre = size[0] // 2, size[1] // 2
    image.paste((255, 255, 255), (centre[0] - 25, centre[1] - 25, centre[0] + 25, centre[1] + 25))
    white = preprocess(image, 100, 100, PLAIN)[0, 0] > 0.5
    assert np.ptp(np.nonzero(white.any(axis=0))) == np.ptp(np.nonzero(white.any(axis=1))) == 49
    assert white[50, 50]


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (5000, 2)])
def test_a_sliver_does_not_take_all_memory(size: tuple[int, int]) -> None:
    assert preprocess(Image.new("RGB", size, COLOUR), 224, 224, PLAIN).shape == (1, 3, 224, 224)


def test_preprocessing_travels_as_json() -> None:
    how = Preprocessing(crop=0.9, interpolation="bilinear")
    assert msgspec.json.decode(msgspec.json.encode(how), type=Preprocessing) == how
    for bad in ({"crop": 0}, {"crop": 1.5}, {"interpolation": "nearest"}, {"mean": [1]}, {"extra": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, Preprocessing)


# labels


def test_the_labels_are_imagenets_thousand() -> None:
    labels = labels_for(1000)
    assert labels is not None
    assert len(labels) == len(set(labels)) == 1000
    assert all(label and label == label.strip() for label in labels)
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 340: "zebra", 954: "banana",
             999: "toilet tissue"}  # fmt: skip
    assert {index: labels[index] for index in known} == known
    assert labels_for(10) is None
