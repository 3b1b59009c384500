"""Whether two models answer the same to the same image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mfedge.errors import Exit, GateError

Outputs = Mapping[str, Sequence[float]]  # name → numbers, flat


def difference(label: str, baseline: Outputs, candidate: Outputs, tolerance: float) -> float:
    """The largest difference of any output, relative to the largest number of that output.

    Args:
        label: of the case, for messages.
        baseline: its outputs.
        candidate: its outputs.
        tolerance: what the difference may be.

    Raises:
        GateError: other outputs, numbers that are not finite, or a difference beyond the tolerance.
    """
    sizes = [{name: len(values) for name, values in side.items()} for side in (baseline, candidate)]
    if sizes[0] != sizes[1]:
        raise GateError(Exit.PARITY, f"{label}: expected outputs {sizes[0]}, found {sizes[1]}")
    found = 0.0
    for name in baseline:
        was, now = np.array(baseline[name]), np.array(candidate[name])
        if not np.isfinite(was).all() or not np.isfinite(now).all():
            raise GateError(Exit.PARITY, f"{label}: {name}: expected finite outputs, found infinity or NaN")
        found = max(found, float(np.abs(now - was).max() / max(float(np.abs(was).max()), 1e-12)))
    if found > tolerance:
        raise GateError(
            Exit.PARITY, f"{label}: the outputs differ by {found:.2g} of the largest, allowed {tolerance:g}; "
            "--tolerance sets it",
        )  # fmt: skip
    return found
