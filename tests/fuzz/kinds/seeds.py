"""What the files of several kinds start from: the tiny network's artifacts in tests/data."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

from mfedge import runtimes
from mfedge.artifacts import folder as folders
from mfedge.artifacts import manifest, parity
from mfedge.artifacts.folder import MANIFEST
from mfedge.artifacts.manifest import Manifest
from mfedge.artifacts.proof import FILE, FILE_1
from mfedge.families.mobile_former.spec import MobileFormerSpec
from mfedge.families.spec import Spec
from mfedge.precisions import PRECISIONS
from mfedge.sizes import Size
from mfedge.tasks.table import TASKS

STORED = Path(__file__).parents[2] / "data" / "artifacts" / "1"
NAMES = tuple(sorted(path.name for path in STORED.iterdir()))


SIZE = Size(32, 48)  # that they take
CLASSES = 5


def spec() -> Spec:
    """Of the tiny network."""
    return msgspec.convert(json.loads((STORED / NAMES[0] / MANIFEST).read_text())["spec"], MobileFormerSpec)


def stored(name: str, place: Path) -> Path:
    """A copy of a stored artifact, of schema 1."""
    return Path(shutil.copytree(STORED / name, place))


def of_today(name: str, place: Path) -> Path:
    """The same artifact as mfedge writes it today, its labels included; the session itself is the reference."""
    stored(name, place)
    old = manifest.read(place)
    (place / FILE_1).unlink()
    (place / "labels.txt").write_text("".join(f"label {i}\n" for i in range(old.num_classes)))
    session = runtimes.load(place / old.model)
    figures, proof = parity.prove(
        session, session.run, [SIZE], PRECISIONS["fp32"], old.preprocessing, TASKS["classify"]
    )
    (place / FILE).write_bytes(proof.encode())
    made = msgspec.structs.replace(
        old, schema=manifest.SCHEMA, labels="labels.txt", parity=figures, files=folders.file_sums(place)
    )
    (place / MANIFEST).write_bytes(manifest.encode(made))
    return place


def variants(name: str, folder: Path) -> None:
    """The network in one format, with height and width open, and with weights stored as float16."""
    from mfedge.artifacts.export import export
    from mfedge.artifacts.request import Request

    for size, precision in ((None, "fp32"), (SIZE, "fp16")):
        export(Request.of(spec(), (name,), size, precision, num_classes=CLASSES), folder)


def resealed(place: Path, tree: dict[str, Any] | None = None) -> None:
    """Write a manifest with its own sum and those of the files as they are: a change behind the seal.

    Args:
        place: the artifact's folder.
        tree: the manifest's data; by default what the folder has.
    """
    path = place / MANIFEST
    tree = json.loads(path.read_bytes()) if tree is None else tree
    if isinstance(tree.get("files"), dict):
        for name in tree["files"]:
            file = place / name
            if file.is_file() and file.stat().st_size < 64 << 20:
                tree["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
    path.write_bytes(sealed(tree))


def sealed(tree: dict[str, Any]) -> bytes:
    """The bytes of a manifest with its own sum, whether or not its fields are those of a manifest."""
    if tree.get("schema") == manifest.SCHEMA:
        try:
            return manifest.encode(msgspec.convert(tree, Manifest))
        except (msgspec.ValidationError, RecursionError):
            pass
    unsigned = msgspec.json.encode({**tree, "sha256": ""})
    signed = {**tree, "sha256": hashlib.sha256(unsigned).hexdigest()}
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"
