"""What travels with an artifact so that it can be proven again: its inputs, and the reference's outputs for them.

Random inputs are made again from their seed, by a stream that does not change (`mfedge.arrays.random_images`). The
photograph is stored as the bytes that the network sees, so that another version of an image library makes no
difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from mfedge import reading
from mfedge.arrays import Array, random_images
from mfedge.data.images import Pixels, Preprocessing, crop, load_image, normalise, photograph, preprocess
from mfedge.errors import ArtifactError
from mfedge.sizes import Size
from mfedge.workers import foreign

FILE = "proof.safetensors"
FILE_1 = "reference.safetensors"  # of artifacts of schema 1: the outputs alone
LIMIT = 1 << 30  # bytes of either; a detector's, at every size of a dynamic file, has 0.02e9
RANDOM_INPUTS = 3
PHOTOGRAPH = "photograph"


class Proof:
    """Inputs and outputs, by the names that parity cases have."""

    def __init__(self, preprocessing: Preprocessing, pixels: dict[str, Pixels], regenerated: bool = False) -> None:
        self.preprocessing = preprocessing
        self.regenerated = regenerated  # of schema 1: the photograph is made again from the file that mfedge ships
        self._pixels = pixels  # key of a case → the photograph at its size
        self._outputs: dict[str, dict[str, Array]] = {}  # key of a case → the reference's outputs
        self._from = ""

    @classmethod
    def of_sizes(cls, sizes: Iterable[Size], preprocessing: Preprocessing) -> Proof:
        """A new proof at these sizes, without outputs."""
        image = load_image(photograph())
        return cls(
            preprocessing,
            {_key(PHOTOGRAPH, size): crop(image, size.height, size.width, preprocessing) for size in sizes},
        )

    @classmethod
    def read(cls, folder: Path, schema: int, preprocessing: Preprocessing, outputs: tuple[str, ...]) -> Proof:
        """The proof of an artifact.

        Args:
            folder: of the artifact.
            schema: of its manifest.
            preprocessing: of its manifest.
            outputs: names of the model's outputs; schema 1 stores the only one without its name.

        Raises:
            ArtifactError: damaged or missing.
        """
        path = folder / (FILE_1 if schema == 1 else FILE)
        with foreign.opening("safetensors", path):
            tensors = safetensors.numpy.load(reading.read(path, LIMIT, ArtifactError))
        proof = cls(preprocessing, {}, regenerated=schema == 1)
        proof._from = str(path)
        for name, value in tensors.items():
            key, slash, output = name.partition("/")
            if schema == 1 or slash:
                _check_output(path, name, value)
            if schema == 1:
                proof.add_outputs(name, {outputs[0]: value})
            elif not slash:
                if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
                    raise ArtifactError(f"{path}: {name}: expected (H, W, 3) bytes, found {value.dtype}{value.shape}")
                proof._pixels[key] = value
            else:
                proof._outputs.setdefault(key, {})[output] = value
        return proof

    def inputs(self, size: Size) -> dict[str, Array]:
        """The inputs of one size by name, (1, 3, H, W): random ones, close to N(0, 1), and a photograph."""
        height, width = size.height, size.width
        if self.regenerated:
            found = {f"random-{seed}": _random_images_1(seed, height, width) for seed in range(RANDOM_INPUTS)}
            found[PHOTOGRAPH] = preprocess(load_image(photograph()), height, width, self.preprocessing)
            return found
        found = {f"random-{seed}": random_images(seed, height, width) for seed in range(RANDOM_INPUTS)}
        pixels = self._pixels.get(_key(PHOTOGRAPH, size))
        if pixels is not None:
            found[PHOTOGRAPH] = normalise(pixels, self.preprocessing)
        return found

    def add_outputs(self, key: str, outputs: Mapping[str, Array]) -> None:
        """What the reference answers to the case of this key."""
        self._outputs[key] = dict(outputs)

    def outputs(self, key: str, names: Iterable[str]) -> dict[str, Array]:
        """What the reference answers to the case of this key.

        Raises:
            ArtifactError: the proof does not hold all of them.
        """
        found = self._outputs.get(key, {})
        for name in names:
            if name not in found:
                raise ArtifactError(f"{self._from}: {name} of {key}, a case of the manifest, is not there")
        return {name: found[name] for name in names}

    def encode(self) -> bytes:
        """The file's bytes."""
        tensors: dict[str, np.ndarray[Any, Any]] = dict(self._pixels)
        for key, outputs in self._outputs.items():
            tensors |= {f"{key}/{name}": np.ascontiguousarray(value) for name, value in outputs.items()}
        return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def _check_output(path: Path, name: str, value: np.ndarray[Any, Any]) -> None:
    if value.dtype != np.float32 or value.size == 0 or not np.isfinite(value).all():
        raise ArtifactError(f"{path}: {name}: expected finite float32 numbers, found {value.dtype}{value.shape}")


def _key(name: str, size: Size) -> str:
    return f"{name}_{size.height}x{size.width}"


def _random_images_1(seed: int, height: int, width: int) -> Array:
    """As schema 1 made them: numpy's own normal distribution."""
    return np.random.default_rng(seed).standard_normal((1, 3, height, width)).astype(np.float32)
