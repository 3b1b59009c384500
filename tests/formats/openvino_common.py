"""What the tests of native operators in OpenVINO share."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov

from mfedge.runtimes.openvino import extension

Array = np.ndarray[Any, Any]
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def assert_close(found: Array, expected: Array, bound: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


def core() -> Any:
    found = ov.Core()
    found.add_extension(str(extension()))
    return found
