"""Pictures, as anybody may give them to `mfedge predict`."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mfedge.data.images import FORMATS, Preprocessing, load_image, preprocess
from mfedge.errors import Exit
from tests.fuzz import octets, values
from tests.fuzz.case import GIB, Call, Case, Kind

MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "PA")
WRITTEN = (
    "PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "ICO", "JPEG2000", "TGA", "PCX", "SGI", "DIB", "DDS", "IM",
    "ICNS", "MSP", "XBM", "EPS", "PDF", "AVIF", "BLP", "SPIDER", "MPO", "QOI",
)  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"
INPUT = frozenset({Exit.INPUT})


def prepare(folder: Path) -> None:
    """A picture of every mode in every format that takes it, odd in size, some with EXIF, transparency and frames."""
    height, width = 21, 34
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    for mode in MODES:
        if mode in ("I", "I;16", "F"):
            grey = noise[..., 0].astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]) * 200
            image = Image.fromarray(grey)
        else:
            image = Image.fromarray(noise).convert("RGB").convert("P" if mode == "PA" else mode)
            image = image.convert("PA") if mode == "PA" else image
        for name in WRITTEN:
            for options in ({}, {"exif": _exif(6)}, {"transparency": 3}, {"save_all": True, "append_images": [image]}):
                data = io.BytesIO()
                try:
                    image.save(data, name, **options)
                except Exception:  # Pillow's own word for "not this mode": whatever its encoder raises
                    continue
                stem = f"{name}-{mode.replace(';', '')}-{len(options)}{next(iter(options), '')}"
                (folder / stem).write_bytes(data.getvalue())


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
    found = sorted(seeds.iterdir())
    if generator.random() < 0.85:
        found = [path for path in found if path.name.partition("-")[0] in FORMATS]
    seed = generator.choice(found)
    data = seed.read_bytes()
    name = seed.name.partition("-")[0]
    change = CHANGES.get(name) if generator.random() < 0.7 else None
    data = octets.changed(data, generator) if change is None else change(data, generator)
    if generator.random() < 0.1:
        other = generator.choice(sorted(seeds.iterdir())).read_bytes()
        cut = generator.randint(0, len(data))
        data = data[:cut] + other[generator.randint(0, len(other)) :]
    path = folder / "photo.jpg"
    path.write_bytes(data)
    size = generator.choice(((32, 48), (224, 224), (33, 97)))
    return Case(
        seed.name, [Call("load_image", lambda: preprocess(load_image(path), *size, Preprocessing()), INPUT, _ok)]
    )


def _ok(pixels: np.ndarray) -> str | None:
    return None if bool(np.isfinite(pixels).all()) else "gives pixels that are not finite"


def png(data: bytes, generator: random.Random) -> bytes:
    """Chunks with sums that are right: fields of the header, chunks doubled, moved, made up, and bombs in them."""
    chunks = list(_chunks(data))
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(chunks))
        kind, body = chunks[at]
        choice = generator.randrange(8)
        if choice < 2:
            side = generator.choice((0, 1, 33, 4096, 9_999, 10_001, 30_000, 2**31 - 1, 2**31, 2**32 - 1))
            fields = [side, 34, *(generator.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))]
            if generator.random() < 0.5:
                fields[1:2] = [generator.choice((1, 9_999, 30_000, 2**32 - 1))]
            chunks[0] = b"IHDR", struct.pack(">IIBBBBB", *fields)
        elif choice == 2:
            chunks[at] = kind, octets.changed(body, generator)
        elif choice == 3:
            chunks.insert(at, chunks[generator.randrange(len(chunks))])
        elif choice == 4:
            del chunks[at]
            chunks = chunks or [(kind, body)]
        elif choice == 5:
            bomb = zlib.compress(bytes(generator.choice((1 << 20, 300 << 20))), 1 if generator.random() < 0.9 else 9)
            chunks.insert(
                at, generator.choice(((b"iCCP", b"a\0\0" + bomb), (b"zTXt", b"a\0\0" + bomb), (b"IDAT", bomb)))
            )
        elif choice == 6:
            name = generator.choice((b"PLTE", b"tRNS", b"eXIf", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"cHRM", b"iTXt"))
            chunks.insert(at, (name, generator.randbytes(generator.choice((0, 1, 2, 3, 26, 255, 769)))))
        else:
            rows = (
                zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")) if kind == b"IDAT" else b""
            )
            chunks[at] = kind, zlib.compress(octets.changed(rows, generator)) if rows else body[::-1]
    return PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def jpeg(data: bytes, generator: random.Random) -> bytes:
    """Segments: sizes in the frame header, tables, EXIF with any orientation and any offsets."""
    segments, at = [], 2
    while data[at : at + 1] == b"\xff" and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    for _ in range(generator.randint(1, 3)):
        i = generator.randrange(len(segments))
        marker, body = segments[i]
        choice = generator.randrange(6)
        if choice == 0:
            frame = next((k for k, (m, _) in enumerate(segments) if m in (0xC0, 0xC2)), i)
            height, width = (generator.choice((0, 1, 21, 9_999, 65_535)) for _ in range(2))
            segments[frame] = segments[frame][0], body[:1] + struct.pack(">HH", height, width) + segments[frame][1][5:]
        elif choice == 1:
            segments[i] = marker, octets.changed(body, generator)
        elif choice == 2:
            segments.insert(i, segments[generator.randrange(len(segments))])
        elif choice == 3:
            exif = tiff(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", generator)
            segments.insert(0, (0xE1, b"Exif\0\0" + exif))
        elif choice == 4:
            segments[i] = generator.randrange(0xC0, 0x100), body
        else:
            segments.insert(i, (generator.choice((0xE2, 0xED, 0xEE, 0xFE)), generator.randbytes(300)))
    head = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + (octets.changed(data[at:], generator) if generator.random() < 0.3 else data[at:])


def tiff(data: bytes, generator: random.Random) -> bytes:
    """Entries of the directory: types, counts and values."""
    order = "<" if data[:2] == b"II" else ">"
    made = bytearray(data)
    try:
        (start,) = struct.unpack_from(f"{order}I", made, 4)
        (count,) = struct.unpack_from(f"{order}H", made, start)
        for _ in range(generator.randint(1, 4)):
            at = start + 2 + 12 * generator.randrange(count)
            field = generator.randrange(4)
            if field == 0:
                tag = generator.choice((256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 317, 320, 338, 339, 330, 700))
                struct.pack_into(f"{order}H", made, at, tag)
            elif field == 1:
                struct.pack_into(f"{order}H", made, at + 2, generator.randrange(20))
            else:
                word = values.fitting(generator, 32, signed=False)
                small = generator.choice((0, 1, 2, 3, 5, 6, 7, 8, 32773, word))
                struct.pack_into(f"{order}I", made, at + (4 if field == 2 else 8), small)
    except struct.error:
        return octets.changed(data, generator)
    return bytes(made)


def riff(data: bytes, generator: random.Random) -> bytes:
    """WebP: chunks and their sizes."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    for _ in range(generator.randint(1, 3)):
        i = generator.randrange(len(chunks))
        name, body = chunks[i]
        choice = generator.randrange(4)
        if choice == 0:
            extended = struct.pack("<I", generator.randrange(256)) + generator.randbytes(6)
            chunks.insert(0, (b"VP8X", extended))
        elif choice == 1:
            chunks[i] = name, octets.changed(body, generator, 2)
        elif choice == 2:
            chunks.insert(i, chunks[generator.randrange(len(chunks))])
        else:
            name = generator.choice((b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ", b"VP8L", b"VP8 "))
            chunks.insert(i, (name, generator.randbytes(generator.choice((0, 1, 16, 100)))))
    body = b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "PNG": png, "JPEG": jpeg, "MPO": jpeg, "TIFF": tiff, "WEBP": riff,
}  # fmt: skip
KINDS = (Kind("picture", make, prepare, ("mfedge.data.images",), memory=2 * GIB),)
