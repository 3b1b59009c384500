"""The gate every file passes: run in its own runtime, it computes what the reference network computes.

The bound is relative to the largest magnitude of each of the reference's outputs, so that it means the same for every
checkpoint. A failure names the input, its size, the output and the error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from mfedge.arrays import Array
from mfedge.artifacts.manifest import OutputParity, Parity, ParityCase
from mfedge.artifacts.proof import Proof
from mfedge.data.images import Preprocessing
from mfedge.errors import CheckpointError, ParityError
from mfedge.precisions import Precision
from mfedge.runtimes.base import Session
from mfedge.sizes import Size
from mfedge.tasks.table import TASKS, Outputs, Task

DYNAMIC_SIZES = (Size(224, 224), Size(32, 32), Size(193, 257), Size(320, 256), Size(96, 448))  # odd, tall, wide

Progress = Callable[[str], None]


def proof_sizes(size: Size, dynamic: bool) -> list[Size]:
    """The sizes a file is proven at: the traced one and, if the file is dynamic, others."""
    return list(dict.fromkeys([size, *DYNAMIC_SIZES])) if dynamic else [size]


def prove(
    session: Session,
    reference: Callable[[Array], Outputs],
    sizes: Sequence[Size],
    precision: Precision,
    preprocessing: Preprocessing,
    task: Task,
    progress: Progress = lambda _: None,
) -> tuple[Parity, Proof]:
    """Compare a loaded file with the reference on every input at every size.

    Args:
        session: the file in its own runtime.
        reference: the untouched network, (1, 3, H, W) → its outputs by name.
        sizes: of the input.
        precision: picks the bound.
        preprocessing: of the photograph.
        task: says what it means that two answers agree.
        progress: called with "320x256" as each size begins.

    Returns:
        The figures, and what a replay needs.

    Raises:
        ParityError: naming the worst case, its size, its output, and how far it is off.
        CheckpointError: the reference's own outputs are not finite.
    """
    proof = Proof.of_sizes(sizes, preprocessing)
    cases = []
    for size in sizes:
        progress(f"{size.height}x{size.width}")
        for name, images in proof.inputs(size).items():
            expected = reference(images)
            if not all(np.isfinite(value).all() for value in expected.values()):
                raise CheckpointError(f"the network's own outputs are not finite for {name} at {size}: see its weights")
            cases.append(compare(name, images, session.run(images), expected, task))
            proof.add_outputs(cases[-1].key, expected)
    parity = Parity(session.metadata.runtime, session.metadata.version, precision.bound, tuple(cases))
    check(parity)
    return parity, proof


def compare(name: str, images: Array, found: Outputs, expected: Outputs, task: Task) -> ParityCase:
    """The figures of one input. An output that is missing, of another shape, or not finite, is infinitely far off."""
    outputs = {output: _compare(found.get(output), value) for output, value in expected.items()}
    comparable = all(output.max_absolute < np.inf for output in outputs.values())
    return ParityCase(
        input=name,
        height=images.shape[2],
        width=images.shape[3],
        input_sha256=sha256(images),
        outputs=outputs,
        agrees=comparable and task.agree(found, expected),
    )


def check(parity: Parity) -> None:
    """Raise ParityError unless every output of every case is within the bound."""
    failed = [case for case in parity.cases if not case.max_relative <= parity.bound]
    if failed:
        worst = max(failed, key=lambda case: case.max_relative)
        name, output = max(worst.outputs.items(), key=lambda item: item[1].max_relative)
        raise ParityError(
            f"{parity.runtime} {parity.runtime_version}: expected {name} within {parity.bound:g} of the "
            f"reference's largest magnitude, found {output.max_relative:.3g} for {worst.input} at "
            f"{worst.height}x{worst.width} (absolute {output.max_absolute:.3g}, cosine {output.cosine:.6f}); "
            f"{len(failed)} of {len(parity.cases)} cases fail; nothing was published"
        )


def replay(session: Session, parity: Parity, proof: Proof, task_name: str) -> tuple[Parity, int]:
    """Run the proof's inputs again and compare with the reference's outputs that travel with the artifact.

    Returns:
        The figures now, and how many cases of the export could not be replayed, because their input cannot be made
        again to the bit: of artifacts of schema 1 only, whose inputs another Pillow or numpy may make otherwise.

    Raises:
        ParityError: as `prove`; or no input can be made again.
        ArtifactError: the proof does not hold what the manifest says.
    """
    task = TASKS[task_name]
    cases, skipped = [], 0
    for size in dict.fromkeys(Size(case.height, case.width) for case in parity.cases):
        inputs = proof.inputs(size)
        for case in (case for case in parity.cases if (case.height, case.width) == (size.height, size.width)):
            images = inputs.get(case.input)
            expected = proof.outputs(case.key, case.outputs)
            if images is None or sha256(images) != case.input_sha256:
                skipped += 1
                continue
            cases.append(compare(case.input, images, session.run(images), expected, task))
    if not cases or (skipped and not proof.regenerated):
        raise ParityError(
            f"none of {len(parity.cases)} inputs can be made again to the bit: another version of Pillow, numpy or "
            f"matplotlib than the export's; see versions in manifest.json"
        )
    again = Parity(session.metadata.runtime, session.metadata.version, parity.bound, tuple(cases))
    check(again)
    return again, skipped


def sha256(images: Array) -> str:
    """Hex digest of an input's bytes."""
    return hashlib.sha256(images.tobytes()).hexdigest()


def _compare(found: Array | None, expected: Array) -> OutputParity:
    right = expected.astype(np.float64)  # in which neither differences nor products of float32 overflow
    largest = float(np.abs(right).max())
    if found is None or found.shape != expected.shape or not np.isfinite(found).all():
        return OutputParity(largest, float("inf"), float("inf"), 0.0)
    difference = float(np.abs(found - right).max())
    norms = float(np.linalg.norm(found.astype(np.float64)) * np.linalg.norm(right))
    return OutputParity(
        largest=largest,
        max_absolute=difference,
        max_relative=difference / largest if largest else float(difference > 0),
        cosine=float((found * right).sum() / norms) if norms else 0.0,
    )
