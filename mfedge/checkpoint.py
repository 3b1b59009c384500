"""Weights on disk → a network: safely, completely, or not at all.

A family's public release may name its entries otherwise than `mfedge.nn` does: the family's row knows how.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mfedge.errors import CheckpointError
from mfedge.families.spec import Spec
from mfedge.families.table import family_of

WRAPPERS = ("state_dict_ema", "state_dict", "model")  # averaged weights first: they are the ones evaluated
SHOWN = 10  # entries listed before "and N more"


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint file into `network`, all of it or nothing.

    Raises:
        CheckpointError: the file is unsafe, unreadable, or does not fit; entries are named.
    """
    path = Path(path)
    state = read_state_dict(path)
    spec = network.spec
    assert isinstance(spec, Spec)
    rename = family_of(spec).from_public_names
    if rename is not None:
        state = rename(spec, state)
    _check_fit(network, state, path)
    network.load_state_dict(state)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file, unwrapped and without a `module.` prefix.

    Nothing in the file is executed: torch files go through `weights_only`.

    Raises:
        CheckpointError: not readable that way, with the way out.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a .safetensors or torch checkpoint")
    try:
        with path.open("rb") as file:
            head = file.read(16)
        content = _read_torch(path) if _is_torch_file(head) else safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: neither a safetensors nor a torch file ({error}); the download may be incomplete"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    return _tensors(content, path)


def _is_torch_file(head: bytes) -> bool:
    """A zip archive (torch ≥ 1.6) or a bare pickle (older); safetensors starts with a length and a brace."""
    return head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[8:9] != b"{")


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # An argparse.Namespace is plain attributes: the public release's files carry one beside the weights.
            import argparse

            # A file, not a path: of a path torch believes the extension, here the first bytes decide.
            with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "global" in line), "")
        raise CheckpointError(
            f"{path}: holds more than tensors and plain data, and loading it could run code ({reason or 'refused'}); "
            f"save the state dict alone: torch.save(model.state_dict(), ...), or as .safetensors, where you trust it"
        ) from None
    except OSError:
        raise  # the disk's failure, not the file's
    except Exception as error:  # what unpickling damaged bytes raises has no end: torch's own assertions among it
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged torch file ({first}); the download may be incomplete") from None


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Unwrap `state_dict`, `state_dict_ema` or `model`, then strip `module.`."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"{path}: expected a state dict, bare or under one of {', '.join(WRAPPERS)}; found {type(content).__name__}"
        )
    bad = [str(key) for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if bad:
        raise CheckpointError(
            f"{path}: expected tensors only, bare or under one of {', '.join(WRAPPERS)}; "
            f"found other values at {_listed(bad)}"
        )
    state = {key.removeprefix("module."): tensor for key, tensor in content.items()}
    if len(state) < len(content):
        twice = [key for key in content if f"module.{key}" in content]
        raise CheckpointError(f"{path}: entries with and without the prefix module.: {_listed(twice)}")
    return state


def _check_fit(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    classes = next((key for key in reversed(expected) if key.startswith("classifier")), "")  # the last Linear's bias
    if classes in state and state[classes].shape != expected[classes].shape and state[classes].dim() == 1:
        raise CheckpointError(
            f"{path}: a classifier of {state[classes].shape[0]} classes, the network has {expected[classes].shape[0]}; "
            f"pass --num-classes {state[classes].shape[0]}"
        )
    # Old checkpoints lack BatchNorm's step counters, which inference does not read.
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = [key for key in expected if key not in state and key not in counters]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    complaints = [
        f"{len(entries)} {what}: {_listed(entries)}"
        for what, entries in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if entries
    ]
    if complaints:
        raise CheckpointError(f"{path}: does not fit {_name(network)}; nothing was loaded; " + "; ".join(complaints))
    bad = [key for key, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise CheckpointError(f"{path}: not finite (NaN or infinity): {_listed(bad)}")
    for key in counters - state.keys():
        state[key] = expected[key]


def _listed(entries: list[str]) -> str:
    rest = f", and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entries[:SHOWN]) + rest


def _name(network: nn.Module) -> str:
    return str(getattr(getattr(network, "spec", None), "name", type(network).__name__))
