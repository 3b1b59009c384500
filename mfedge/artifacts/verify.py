"""Is an artifact still what was exported? Sums, structure, and its proof replayed. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from mfedge.artifacts import parity
from mfedge.artifacts.manifest import Manifest
from mfedge.artifacts.proof import Proof
from mfedge.artifacts.session import load
from mfedge.errors import ArtifactError
from mfedge.formats.table import FORMATS
from mfedge.workers import foreign

Progress = Callable[[str], None]


class Verified(Struct, frozen=True):
    """What was checked."""

    artifact: str
    files: int
    operators: int
    cases: int  # of the proof, replayed
    skipped: int  # whose input cannot be made again to the bit (artifacts of schema 1 only)
    bound: float
    max_relative: float
    max_relative_at_export: float
    runtime: str
    random_weights: bool


def verify(folder: Path, runtime: str | None = None, progress: Progress = lambda _: None) -> Verified:
    """Check an artifact: sums, structure, and parity replayed from the inputs and outputs that travel with it.

    Args:
        folder: of the artifact.
        runtime: that runs it; by default the format's own.
        progress: called with what happens next.

    Raises:
        ArtifactError: damaged; the file is named.
        ParityError: it no longer computes what it did.
        MissingRuntimeError: the runtime is not installed.
    """
    progress("checking the files and loading the model")
    manifest, session = load(folder, runtime)
    progress("checking the structure")
    model = folder / manifest.model
    operators = FORMATS[manifest.format].operators(model)
    if operators != manifest.operators:
        raise ArtifactError(f"{model}: its operators are not those of the manifest; export it again")
    progress("replaying parity")
    outputs = tuple(output.name for output in manifest.outputs)
    proof = Proof.read(folder, manifest.schema, manifest.preprocessing, outputs)
    _check_shapes(folder, manifest, proof)
    with foreign.opening(session.metadata.runtime, model):
        again, skipped = parity.replay(session, manifest.parity, proof, manifest.task)
    return Verified(
        artifact=manifest.name,
        files=len(manifest.files) + 1,
        operators=sum(operators.values()),
        cases=len(again.cases),
        skipped=skipped,
        bound=again.bound,
        max_relative=again.max_relative,
        max_relative_at_export=manifest.parity.max_relative,
        runtime=f"{again.runtime} {again.runtime_version}",
        random_weights=manifest.weights.random,
    )


def _check_shapes(folder: Path, manifest: Manifest, proof: Proof) -> None:
    """The outputs are of the shapes that the manifest states, which an app sizes its buffers by."""
    for case in manifest.parity.cases:
        found = proof.outputs(case.key, case.outputs)
        for tensor in manifest.outputs:
            shape = found[tensor.name].shape if tensor.name in found else ()
            stated = tuple(side or size for side, size in zip(tensor.shape, shape, strict=False))
            if len(tensor.shape) != len(shape) or stated != shape:
                raise ArtifactError(
                    f"{folder}: output {tensor.name}: the manifest says {tensor.shape}, found {shape}; export it again"
                )
