"""The array type between images, sessions and proofs, and the random images that files are measured and proven with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def random_images(seed: int, height: int, width: int) -> Array:
    """A batch of one random image, close to N(0, 1): (1, 3, height, width) float32.

    The same on every machine and with every version of numpy: the bits come from PCG64, whose stream numpy promises to
    keep, and not from numpy's normal distribution, whose stream it may change. Four uniform 16-bit numbers are added
    up (Irwin and Hall), centred and scaled to deviation 1; all of it is exact in float32 but the last product.
    """
    words = np.random.PCG64(seed).random_raw(3 * height * width)
    sums = sum((words >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48))
    centred = np.asarray(sums, np.float32) - np.float32(2 * 0xFFFF)
    deviation = np.float32(1 / 65536 / (1 / 3) ** 0.5)  # of a sum of four uniforms on 0 … 65535: 65536 · √(4/12)
    return np.ascontiguousarray((centred * deviation).reshape(1, 3, height, width))
