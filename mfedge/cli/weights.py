"""`mfedge weights`: checkpoints made safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge import files
from mfedge.cli import console
from mfedge.cli.options import Json
from mfedge.errors import CheckpointError, UsageError
from mfedge.extras import needing

if TYPE_CHECKING:
    from torch import Tensor


def register(app: typer.Typer) -> None:
    weights = typer.Typer(help="Checkpoints made safe.")
    weights.callback()(lambda: None)  # without it, a single command would swallow its own name
    weights.command("convert")(convert)
    app.add_typer(weights, name="weights")


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A torch or safetensors checkpoint.")],
    destination: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="The file to write; one that is there is replaced.")
    ],
    json: Json = False,
) -> None:
    """Keep a checkpoint's network and nothing else, as .safetensors. Nothing in IN is executed."""
    if destination.suffix != ".safetensors":
        raise UsageError(f"{destination}: expected a name that ends in .safetensors")
    if not destination.parent.is_dir():
        raise UsageError(f"{destination}: its folder does not exist")
    if destination.is_dir():
        raise UsageError(f"{destination}: expected a file, found a folder")
    with needing("export", "weights convert"):
        from mfedge.checkpoint import read_state_dict

    state = read_state_dict(source)
    write_safetensors(state, destination)
    result = {
        "file": str(destination),
        "tensors": len(state),
        "bytes": destination.stat().st_size,
        "sha256": files.sha256(destination),
    }
    if json:
        console.print_json(result)
        return
    console.out(
        f"{destination}: {len(state)} tensors, {destination.stat().st_size / 1e6:.1f} MB, sha256 {result['sha256']}"
    )


def write_safetensors(state: dict[str, Tensor], destination: Path) -> None:
    """Write tensors beside `destination`, then rename: the file is there whole, or what was there before is.

    Raises:
        CheckpointError: a tensor that the format cannot hold.
        StorageError: the disk is full, or the folder cannot be written.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        # A copy of each: tensors that share memory, which torch files may hold, are refused by the format.
        data = safetensors.torch.save({key: tensor.contiguous().clone() for key, tensor in state.items()})
    except (
        SafetensorError,
        ValueError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    ) as error:  # its ways to refuse one
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{destination}: a tensor that safetensors cannot hold ({first})") from None
    files.write(destination, data)
