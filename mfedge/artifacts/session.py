"""An artifact's model, loaded: the file that was exported, and what its manifest says of it."""

from __future__ import annotations

from pathlib import Path

from mfedge import runtimes
from mfedge.artifacts import manifest as manifests
from mfedge.artifacts.manifest import Manifest
from mfedge.errors import ArtifactError
from mfedge.formats.table import FORMATS
from mfedge.runtimes.base import Session


def load(folder: Path, runtime: str | None = None, threads: int = 1) -> tuple[Manifest, Session]:
    """Check an artifact's files and load its model.

    Args:
        folder: of the artifact.
        runtime: that runs it; by default the format's own.
        threads: intra-op threads.

    Raises:
        ArtifactError: a file is not the one exported, or the model is not what the manifest says.
        MissingRuntimeError: the runtime is not installed.
    """
    manifest = manifests.opened(folder)
    model = folder / manifest.model
    session = runtimes.load(model, runtime or FORMATS[manifest.format].runtime, threads)
    told = session.metadata
    for what, expected, found in (
        ("input", (manifest.input.layout, manifest.input.shape), (told.layout, told.input_shape)),
        ("outputs", sorted(output.name for output in manifest.outputs), sorted(told.outputs)),
    ):
        if expected != found:
            raise ArtifactError(f"{model}: {what}: the manifest says {expected}, found {found}; export it again")
    return manifest, session
