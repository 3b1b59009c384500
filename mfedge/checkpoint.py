"""Weights on disk → a network: safely, completely, or not at all.

A family's public release may name its entries otherwise than `mfedge.nn` does: the family's row knows how.
"""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mfedge import files, reading
from mfedge.errors import CheckpointError
from mfedge.families.spec import Spec
from mfedge.families.table import family_of
from mfedge.workers import foreign
from mfedge.workers.call import isolated
from mfedge.workers.process import Limits

WRAPPERS = ("state_dict_ema", "state_dict", "model")  # averaged weights first: they are the ones evaluated
SHOWN = 10  # entries listed before "and N more"
LARGEST = 4 << 30  # bytes of a checkpoint's tensors; the largest network has 0.06e9
MOST = 1e10  # magnitude of a weight; trained networks stay below 1e4, variances below 1e6
LIMITS = Limits()


def load_weights(network: nn.Module, path: str | Path, limits: Limits | None = LIMITS) -> None:
    """Load a checkpoint file into `network`, all of it or nothing.

    Args:
        network: of `mfedge.create_model`.
        path: of the file.
        limits: as `read_state_dict`.

    Raises:
        CheckpointError: the file is unsafe, unreadable, or does not fit; entries are named.
    """
    path = Path(path)
    state = read_state_dict(path, limits)
    spec = network.spec
    assert isinstance(spec, Spec)
    rename = family_of(spec).from_public_names
    if rename is not None:
        state = rename(spec, state)
    _check_fit(network, state, path)
    _check_values(network, state, path)
    network.load_state_dict(state)


def read_state_dict(path: Path, limits: Limits | None = LIMITS) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file, unwrapped and without a `module.` prefix.

    Nothing in the file is executed: torch files go through `weights_only`, in a process of their own.

    Args:
        path: of the file.
        limits: of that process; None reads in this one, which is for files that it has written itself.

    Raises:
        CheckpointError: not readable that way, with the way out.
    """
    try:
        with reading.open_regular(path) as file:
            head = file.read(16)
        if limits is None or not _is_torch_file(head):
            return _tensors(_content(path, head), path)
        with tempfile.TemporaryDirectory(prefix="mfedge-") as folder:
            converted = Path(folder) / "weights.safetensors"
            isolated(convert, limits)(path, converted)
            return safetensors.torch.load_file(converted)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected a .safetensors or torch checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None


def convert(source: Path, destination: Path) -> int:
    """Write a checkpoint's tensors, and nothing else of it, as .safetensors; returns how many there are.

    Raises:
        CheckpointError: as `read_state_dict`; or a tensor that the format cannot hold, named.
        StorageError: the disk is full, or the folder cannot be written.
    """
    torch.set_num_threads(1)
    with foreign.opening("PyTorch", source, CheckpointError):
        state = read_state_dict(source, limits=None)
    write_safetensors(state, destination, source)
    return len(state)


def write_safetensors(state: Mapping[str, Tensor], destination: Path, source: Path) -> None:
    """Write tensors to `destination`.

    Raises:
        CheckpointError: a tensor that the format cannot hold, or more bytes of them than LARGEST.
        StorageError: the disk is full, or the folder cannot be written.
    """
    odd = [key for key, tensor in state.items() if tensor.layout != torch.strided or tensor.is_quantized]
    odd += [key for key, tensor in state.items() if tensor.is_meta]
    if odd:
        raise CheckpointError(f"{source}: sparse, quantised or without values: {_listed(odd)}; save dense tensors")
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if size > LARGEST:
        raise CheckpointError(f"{source}: expected at most {LARGEST:,} bytes of tensors, found {size:,}")
    try:
        # A copy of each: tensors that share memory, which torch files may hold, are refused by the format.
        data = safetensors.torch.save({key: tensor.contiguous().clone() for key, tensor in state.items()})
    except (SafetensorError, ValueError, KeyError) as error:  # of a type that it has no name for
        raise CheckpointError(f"{source}: a tensor that safetensors cannot hold ({foreign.reason(error)})") from None
    try:
        destination.write_bytes(data)
    except OSError as error:
        raise files.storage_error(destination, error) from None


def _content(path: Path, head: bytes) -> object:
    """Whatever the file holds."""
    if _is_torch_file(head):
        return _read_torch(path)
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: neither a safetensors nor a torch file ({error}); the download may be incomplete"
        ) from None


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
    for key in counters - state.keys():
        state[key] = expected[key]


def _check_values(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Every number is one that a trained network can have; else an export would fail later, and say less."""
    expected = network.state_dict()
    floating = {key: value for key, value in state.items() if expected[key].is_floating_point()}
    complaints = {
        "of another kind than numbers": [key for key, value in floating.items() if not value.is_floating_point()],
        "not finite (NaN or infinity)": [],
        f"beyond {MOST:g}, which no trained network has": [],
        "variances below zero": [],
        "no counts": [key for key in state.keys() - floating.keys() if not _is_count(state[key])],
    }
    odd, infinite, huge, negative, _ = complaints.values()
    for key in floating.keys() - set(odd):
        try:
            value = floating[key].detach().to(expected[key].dtype)
        except (RuntimeError, NotImplementedError):  # float4, which PyTorch stores and does not convert
            odd.append(key)
            continue
        if not bool(torch.isfinite(value).all()):
            infinite.append(key)
        elif float(value.abs().max()) > MOST:
            huge.append(key)
        elif key.endswith("running_var") and bool((value < 0).any()):
            negative.append(key)
    found = [f"{what}: {_listed(sorted(keys))}" for what, keys in complaints.items() if keys]
    if found:
        raise CheckpointError(f"{path}: {'; '.join(found)}; nothing was loaded")


def _is_count(value: Tensor) -> bool:
    kind = value.dtype
    return not (kind.is_floating_point or kind.is_complex or kind == torch.bool) and bool((value >= 0).all())


def _listed(entries: list[str]) -> str:
    rest = f", and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entries[:SHOWN]) + rest


def _name(network: nn.Module) -> str:
    return str(getattr(getattr(network, "spec", None), "name", type(network).__name__))
