"""The gate every file passes: run in its own runtime, it computes what the reference network computes.

The bound is relative to the largest magnitude of the reference's logits, so that it means the same for
every checkpoint. What a failure shows: which input, which size, how far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from mfedge.artifacts.manifest import Parity, ParityCase
from mfedge.data.images import Preprocessing, load_image, preprocess
from mfedge.errors import ArtifactError, ParityError
from mfedge.runtimes.base import Array, Session

BOUNDS = {"fp32": 1e-4, "fp16": 2e-2}
REFERENCE = "reference.safetensors"  # the reference's logits travel with the artifact: verify replays from them
RANDOM_INPUTS = 3
DYNAMIC_SIZES = ((224, 224), (32, 32), (193, 257), (320, 256), (96, 448))  # beside the traced one: odd, tall, wide

Size = tuple[int, int]
Progress = Callable[[str], None]


def inputs(size: Size, preprocessing: Preprocessing) -> dict[str, Array]:
    """The inputs of one size, by name: random ones, (1, 3, H, W) N(0, 1), and a photograph."""
    height, width = size
    found = {
        f"random-{seed}": np.random.default_rng(seed).standard_normal((1, 3, height, width)).astype(np.float32)
        for seed in range(RANDOM_INPUTS)
    }
    found["photograph"] = preprocess(load_image(photograph()), height, width, preprocessing)
    return found


def photograph() -> Path:
    """A real photograph that a dependency ships: matplotlib's portrait of Grace Hopper."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def proof_sizes(size: Size, dynamic: bool) -> list[Size]:
    """The sizes a file is proven at."""
    return list(dict.fromkeys([size, *DYNAMIC_SIZES])) if dynamic else [size]


def prove(
    session: Session,
    reference: Callable[[Array], Array],
    sizes: Sequence[Size],
    precision: str,
    preprocessing: Preprocessing,
    progress: Progress = lambda _: None,
) -> tuple[Parity, dict[str, Array]]:
    """Compare a loaded file with the reference on every input at every size.

    Args:
        session: the file in its own runtime.
        reference: the untouched network, (1, 3, H, W) → (1, classes).
        sizes: (height, width) each.
        precision: picks the bound.
        preprocessing: of the photograph.
        progress: called with "320x256" as each size begins.

    Returns:
        The figures, and the reference's logits by `case_key`.

    Raises:
        ParityError: naming the worst case, its size, and how far it is off.
    """
    cases, logits = [], {}
    for height, width in sizes:
        progress(f"{height}x{width}")
        for name, images in inputs((height, width), preprocessing).items():
            expected = reference(images)
            cases.append(compare(name, images, session.run(images), expected))
            logits[case_key(cases[-1])] = expected
    parity = Parity(session.metadata.runtime, session.metadata.version, BOUNDS[precision], tuple(cases))
    check(parity)
    return parity, logits


def compare(name: str, images: Array, found: Array, expected: Array) -> ParityCase:
    """The figures of one input. A result of another shape, or not finite, is infinitely far off."""
    largest = float(np.abs(expected).max())
    comparable = found.shape == expected.shape and bool(np.isfinite(found).all())
    difference = float(np.abs(found - expected).max()) if comparable else float("inf")
    norms = float(np.linalg.norm(found) * np.linalg.norm(expected)) if comparable else 0.0
    return ParityCase(
        input=name,
        height=images.shape[2],
        width=images.shape[3],
        input_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        largest=largest,
        max_absolute=difference,
        max_relative=difference / largest if largest else float(difference > 0),
        cosine=float((found * expected).sum() / norms) if norms else 0.0,
        top1_agrees=comparable and int(found.argmax()) == int(expected.argmax()),
    )


def check(parity: Parity) -> None:
    """Raise ParityError unless every case is within the bound."""
    failed = [case for case in parity.cases if not case.max_relative <= parity.bound]
    if failed:
        worst = max(failed, key=lambda case: case.max_relative)
        raise ParityError(
            f"{parity.runtime} {parity.runtime_version}: expected every logit within {parity.bound:g} of the "
            f"reference's largest magnitude, found {worst.max_relative:.3g} for {worst.input} at "
            f"{worst.height}x{worst.width} (absolute {worst.max_absolute:.3g}, cosine {worst.cosine:.6f}); "
            f"{len(failed)} of {len(parity.cases)} cases fail; nothing was published"
        )


def case_key(case: ParityCase) -> str:
    """The name of a case's logits in the reference file."""
    return f"{case.input}_{case.height}x{case.width}"


def save_reference(path: Path, logits: dict[str, Array]) -> None:
    """Write the reference's logits, each (1, classes)."""
    path.write_bytes(safetensors.numpy.save({key: np.ascontiguousarray(value) for key, value in logits.items()}))


def replay(folder: Path, session: Session, parity: Parity, preprocessing: Preprocessing) -> Parity:
    """Run the regenerated inputs again and compare with the logits that travel with the artifact.

    Raises:
        ParityError: as `prove`; or an input cannot be regenerated to the bit.
        ArtifactError: the reference file does not hold what the manifest says.
    """
    try:
        logits = safetensors.numpy.load((folder / REFERENCE).read_bytes())
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{folder / REFERENCE}: damaged or missing: {error}") from None
    cases = []
    for size in dict.fromkeys((case.height, case.width) for case in parity.cases):
        regenerated = inputs(size, preprocessing)
        for case in (case for case in parity.cases if (case.height, case.width) == size):
            images, expected = regenerated.get(case.input), logits.get(case_key(case))
            if images is None or expected is None:
                raise ArtifactError(f"{folder}: {case_key(case)} of the manifest is not in {REFERENCE}")
            replayed = compare(case.input, images, session.run(images), expected)
            if replayed.input_sha256 != case.input_sha256:
                raise ParityError(
                    f"{folder}: the input {case_key(case)} cannot be regenerated to the bit: another version of "
                    f"Pillow, numpy or matplotlib than the export's; see versions in manifest.json"
                )
            cases.append(replayed)
    again = Parity(session.metadata.runtime, session.metadata.version, parity.bound, tuple(cases))
    check(again)
    return again
