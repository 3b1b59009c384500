"""Checkpoints: .pth of both of PyTorch's formats, and .safetensors."""

from __future__ import annotations

import argparse
import json
import random
import struct
import warnings
from pathlib import Path

import safetensors.torch
import torch

from mfedge.artifacts.request import weights_sha256
from mfedge.checkpoint import MOST, convert, load_weights
from mfedge.errors import Exit
from mfedge.zoo import build, random_weights
from tests.fuzz import octets, pickles, values
from tests.fuzz.case import GIB, Call, Case, Kind
from tests.fuzz.kinds import seeds as corpus

CHECKPOINT = frozenset({Exit.CHECKPOINT})


def network() -> torch.nn.Module:
    return random_weights(build(corpus.spec(), corpus.CLASSES))


def prepare(folder: Path) -> None:
    torch.set_num_threads(1)
    state = network().state_dict()
    torch.save(state, folder / "plain.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict_ema": state, "args": argparse.Namespace(lr=0.1), "epoch": 3}, folder / "wrapped.pth")
    torch.save({"model": {f"module.{key}": value.half() for key, value in state.items()}}, folder / "half.pth")
    few = {key: value for key, value in state.items() if key.startswith("stem")}
    odd = {f"odd.{i}": value for i, value in enumerate(_odd_tensors())}
    torch.save(few | odd, folder / "odd.pth")
    safetensors.torch.save_file({key: value.clone() for key, value in state.items()}, folder / "plain.safetensors")


def _odd_tensors() -> list[torch.Tensor]:
    """Of the layouts and types that a file can hold and a network has no use for."""
    ones = torch.ones(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            ones.to_sparse(), ones.to_sparse_csr(), ones.to(torch.float8_e4m3fn), ones.to(torch.complex64),
            torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), ones.t(), ones[::2, ::2], ones.expand(3, 4, 4),
            torch.nn.Parameter(ones), ones.bool(), ones.to(torch.bfloat16), torch.empty(0), torch.tensor(1.0),
        ]  # fmt: skip


def make(generator: random.Random, seeds: Path, folder: Path) -> Case:
    seed = generator.choice(sorted(seeds.iterdir()))
    path, canary = folder / f"weights{seed.suffix}", folder / "canary"
    data = seed.read_bytes()
    choice = generator.randrange(20)
    if choice == 0:
        data = pickles.running(str(canary), generator)
    elif choice == 1:
        data = pickles.bomb(generator)
    elif choice < 6:
        data = octets.changed(data, generator)
    elif seed.suffix == ".safetensors":
        data = _safetensors(data, generator)
    elif seed.stem == "old":
        data = pickles.pickled(data, generator)
    else:
        data = pickles.archive(data, generator, str(canary))
    path.write_bytes(data)
    made = folder / "converted.safetensors"
    calls = [
        Call("weights convert", lambda: convert(path, made), CHECKPOINT, lambda count: _converted(count, made, canary)),
        Call("sha256", lambda: weights_sha256(path), CHECKPOINT, lambda _: _executed(canary)),
    ]
    if path.suffix == ".safetensors" or data[:2] != b"PK":
        calls.append(Call("load_weights", lambda: _loaded(path), CHECKPOINT, _finite))
    calls.append(Call("load_weights of what was converted", lambda: _loaded(made), CHECKPOINT, _finite))
    return Case(seed.name, calls)


def _safetensors(data: bytes, generator: random.Random) -> bytes:
    """Header and length changed, the length right or wrong."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    if generator.random() < 0.2:
        header["__metadata__"] = {values.text(generator): values.text(generator)}
    text = values.to_json(values.changed(header, generator)).encode("utf-8", "surrogatepass")
    size = len(text) if generator.random() < 0.85 else values.integer(generator) % 2**64
    return struct.pack("<Q", size) + text + data[8 + length :]


def _loaded(path: Path) -> torch.nn.Module:
    model = network()
    load_weights(model, path, None)
    return model


def _finite(model: torch.nn.Module) -> str | None:
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not bool((value.abs() <= MOST).all()):
            return f"loads a value that no network has: {key}"
    return None


def _converted(count: int, made: Path, canary: Path) -> str | None:
    if not made.is_file():
        return "nothing was written"
    with safetensors.safe_open(made, "np") as file:
        found = len(file.keys())
    return _executed(canary) or (None if found == count else f"says {count} tensors, wrote {found}")


def _executed(canary: Path) -> str | None:
    return "executed the file's code" if canary.exists() else None


KINDS = (Kind("checkpoint", make, prepare, ("torch", "safetensors.torch", "mfedge.checkpoint"), memory=3 * GIB),)
