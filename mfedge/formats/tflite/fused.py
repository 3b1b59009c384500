"""Fused operators as custom operators, which the native kernels run inside LiteRT: mfedge.Block.3, and the like.

Maps between them are NCHW, as the kernels keep them; the image, which is NHWC in every .tflite of this project, is
transposed once. Every node has a number in its name, because LiteRT's compiled models tell custom operators apart by
their name alone. The options are the fields of mfedge_config as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mfedge.errors import UnsupportedError
from mfedge.formats.tflite.writer import Shape, Tensor, Writer
from mfedge.kernels.layout import Config, Kind

PREFIX = "mfedge."
MAGIC = b"mfe1"  # of the options' layout
MAX_NODES = 64  # of one operator: MFEDGE_LITERT_MAX_NODES


def options(config: Config, scale: float = 0.0) -> bytes:
    """A custom operator's options: "mfe1", the integers, `scale` as a float; little-endian."""
    return MAGIC + struct.pack(f"<{len(config)}if", *config, scale)


def append(
    writer: Writer, scope: str, kind: Kind, inputs: Sequence[Tensor], config: Sequence[int], shapes: Sequence[Shape]
) -> list[Tensor]:
    """Append one custom operator of the module `scope`; its outputs, of these shapes.

    Raises:
        UnsupportedError: the file would have more of this kind than LiteRT can tell apart.
    """
    name = kind.row.name
    number = sum(code.startswith(f"{PREFIX}{name}.") for _, _, code in writer.codes)
    if number >= MAX_NODES:
        raise UnsupportedError(f"tflite: expected at most {MAX_NODES} native {name} operators; use portable ones")
    return writer.custom(f"{PREFIX}{name}.{number}", inputs, shapes, f"{scope}/{name}", options(Config(*config)))
