"""Weights files: every form that is published loads, nothing in one is executed, nothing is loaded partly."""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mfedge
from mfedge.checkpoint import convert, load_weights, read_state_dict, write_safetensors
from mfedge.errors import CheckpointError, UsageError
from mfedge.families.mobile_former.public_names import from_public_names
from mfedge.reading import sha256
from mfedge.workers.process import Limits
from mfedge.zoo import SEED, load_spec
from tests.conftest import network
from tests.data.golden import state_dict as golden

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A checkpoint with our names, every value different from what the seed gives."""
    return network("26m").state_dict()


@pytest.fixture(scope="module")
def public() -> State:
    """A checkpoint with the public release's names."""
    return {key: torch.from_numpy(value) for key, value in golden.state_dict("mobile_former_26m").items()}


def saved(content: Any, folder: Path, **options: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **options)
    return path


def assert_loads(path: Path, expected: State) -> None:
    net = mfedge.create_model("26m")
    load_weights(net, path, limits=None)
    loaded = net.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def refused(path: Path, variant: str = "26m", **options: Any) -> str:
    """The message; a network that was refused a checkpoint is as it was."""
    net = mfedge.create_model(variant, **options)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(net, path, limits=None)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items()), "loaded partly"
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


WRAPPINGS: dict[str, Any] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 449},
    "state_dict_ema": lambda state: {"state_dict_ema": state},
    "model": lambda state: {"model": state},
    "model, an OrderedDict": lambda state: {"model": OrderedDict(state)},
    "module. prefix": lambda state: {f"module.{key}": value for key, value in state.items()},
    "wrapped and prefixed": lambda state: {"state_dict": {f"module.{key}": v for key, v in state.items()}},
    "beside an optimizer": lambda state: {
        "state_dict": state,
        "optimizer": {"state": {0: {"step": 7, "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3}]},
        "arch": "mobile_former_26m",
        "metric": 64.0,
    },
    "empty ema": lambda state: {"state_dict": state, "state_dict_ema": None},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_published_form_of_torch_file_loads(wrapping: str, state: State, tmp_path: Path) -> None:
    assert_loads(saved(WRAPPINGS[wrapping](state), tmp_path), state)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_load(prefix: str, state: State, tmp_path: Path) -> None:
    safetensors.torch.save_file({prefix + key: value for key, value in state.items()}, tmp_path / "w.safetensors")
    assert_loads(tmp_path / "w.safetensors", state)


def test_the_extension_does_not_matter(state: State, tmp_path: Path) -> None:
    safetensors.torch.save_file(state, tmp_path / "weights.pth")
    assert_loads(tmp_path / "weights.pth", state)
    torch.save(state, tmp_path / "weights.safetensors")
    assert_loads(tmp_path / "weights.safetensors", state)


def test_the_format_of_torch_before_1_6_loads(state: State, tmp_path: Path) -> None:
    assert_loads(saved({"state_dict": state}, tmp_path, _use_new_zipfile_serialization=False), state)


def test_averaged_weights_are_preferred(state: State, tmp_path: Path) -> None:
    raw = {key: torch.zeros_like(value) for key, value in state.items()}
    assert_loads(saved({"model": raw, "state_dict": raw, "state_dict_ema": state}, tmp_path), state)
    assert_loads(saved({"model": raw, "state_dict": state}, tmp_path), state)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_public_releases_names_are_mapped(prefix: str, public: State, tmp_path: Path) -> None:
    net = mfedge.create_model("26m", saved({"state_dict": {prefix + k: v for k, v in public.items()}}, tmp_path))
    assert torch.equal(net.tokens[0], public["tokens.weight"])
    assert torch.equal(net.stem[0].conv.weight, public["stem.0.weight"])
    assert torch.equal(net.blocks[1].mobile_to_former.query.weight, public["features.1.local_global.q.weight"])
    total = sum(float(value.double().sum()) for value in public.values())
    assert sum(float(value.double().sum()) for value in net.state_dict().values()) == pytest.approx(total)


@pytest.mark.parametrize("variant", ["26m", "52m", "294m"])
def test_every_public_name_finds_its_place(variant: str) -> None:
    net = mfedge.create_model(variant)
    public = {key: torch.from_numpy(value) for key, value in golden.state_dict(f"mobile_former_{variant}").items()}
    assert from_public_names(load_spec(variant), public).keys() == net.state_dict().keys()


def test_counters_that_old_checkpoints_lack_are_no_complaint(state: State, tmp_path: Path) -> None:
    path = saved({key: value for key, value in state.items() if "num_batches" not in key}, tmp_path)
    assert_loads(path, state)


def test_half_precision_weights_load_as_float32(state: State, tmp_path: Path) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    net = mfedge.create_model("26m", saved(half, tmp_path))
    assert torch.equal(net.stem[0].conv.weight, half["stem.0.conv.weight"].float())


class Malicious:
    """Unpickled, it would make a directory."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_malicious_file_is_refused_and_not_executed(new: bool, state: State, tmp_path: Path) -> None:
    content = {"state_dict": state, "extra": Malicious(tmp_path / "executed")}
    path = saved(content, tmp_path, _use_new_zipfile_serialization=new)
    assert "could run code" in refused(path)
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the test's file does nothing"


def test_a_bare_malicious_pickle_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    refused(path)
    assert not (tmp_path / "executed").exists()


def test_the_public_releases_argparse_namespace_loads(state: State, tmp_path: Path) -> None:
    args = argparse.Namespace(lr=1e-3, data="/data", mean=(0.5, 0.5), opt_betas=None, nested=argparse.Namespace(a=1))
    assert_loads(saved({"state_dict": state, "args": args}, tmp_path), state)


def test_a_namespace_does_not_smuggle_code(state: State, tmp_path: Path) -> None:
    args = argparse.Namespace(hook=Malicious(tmp_path / "executed"))
    assert "could run code" in refused(saved({"state_dict": state, "args": args}, tmp_path))
    assert not (tmp_path / "executed").exists()


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    message = refused(saved({"model": nn.Linear(2, 2)}, tmp_path))
    assert "torch.save(model.state_dict()" in message
    assert ".safetensors" in message


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"not weights at all", bytes(64), b"\xff" * 64,
     b"\x80\x02}q\x00.", b"\x80\x04K\x01.", b"<!DOCTYPE html><html>404</html>", b"\x02\0\0\0\0\0\0\0{}"],
)  # fmt: skip
def test_garbage_is_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(kind: str, keep: float, state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "incomplete" in refused(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_a_damaged_file_never_raises_anything_else(data: st.DataObject, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    small = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    if kind == "safetensors":
        safetensors.torch.save_file(small, path)
    else:
        torch.save(small, path, _use_new_zipfile_serialization=kind == "zip")
    content = bytearray(path.read_bytes())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1)):
        content[at] = value
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):  # a byte of a tensor's values may change unseen: a sum's business
        assert all(isinstance(value, Tensor) for value in read_state_dict(path, limits=None).values())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {}, {"model": {}}, {"a": 3}, {3: torch.ones(1)}, "text"])
def test_what_is_no_state_dict_is_said(content: Any, tmp_path: Path) -> None:
    assert "expected" in refused(saved(content, tmp_path))


def test_missing_entries_are_listed_the_first_ten_and_the_count(state: State, tmp_path: Path) -> None:
    gone = [key for key in state if key.startswith("blocks.3") and "num_batches" not in key]
    message = refused(saved({key: value for key, value in state.items() if key not in gone}, tmp_path))
    assert f"{len(gone)} missing: {', '.join(gone[:10])}, and {len(gone) - 10} more" in message
    assert gone[10] not in message
    assert "nothing was loaded" in message


def test_unexpected_and_misshapen_entries_are_listed(state: State, tmp_path: Path) -> None:
    wrong = {**state, "surplus": torch.ones(1), "stem.0.conv.weight": torch.ones(8, 3, 5, 5)}
    message = refused(saved(wrong, tmp_path))
    assert "1 unexpected: surplus" in message
    assert "1 misshapen: stem.0.conv.weight (8, 3, 5, 5) instead of (8, 3, 3, 3)" in message


def test_one_networks_weights_are_not_anothers(state: State, tmp_path: Path) -> None:
    assert "does not fit mobile-former-52m" in refused(saved(state, tmp_path), "52m")


@pytest.mark.parametrize("names", ["ours", "public"])
def test_another_classifier_names_the_option(names: str, state: State, public: State, tmp_path: Path) -> None:
    path = saved(state if names == "ours" else public, tmp_path)
    message = refused(path, num_classes=10)
    assert "1000 classes" in message
    assert "--num-classes 1000" in message


def test_a_name_with_and_without_module_is_ambiguous(state: State, tmp_path: Path) -> None:
    message = refused(saved({**state, "module.tokens": torch.zeros(1, 3, 128)}, tmp_path))
    assert "tokens" in message


def test_mobilenet_v3_loads_torchvisions_names(tmp_path: Path) -> None:
    state = network("mobilenet-v3-small").state_dict()
    net = mfedge.create_model("mobilenet-v3-small", saved({f"module.{k}": v for k, v in state.items()}, tmp_path))
    assert torch.equal(net.classifier[3].bias, state["classifier.3.bias"])


# create_model


def test_without_weights_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    torch.manual_seed(SEED + 1)
    before = torch.random.get_rng_state()
    first, second = mfedge.create_model("26m"), mfedge.create_model("mobile-former-26m")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}


def test_create_model_takes_fields_and_classes() -> None:
    net = mfedge.create_model("26m", num_classes=7, tokens=2, activation="relu", former_ffn=False)
    assert net.tokens.shape == (1, 2, 128)
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize(
    ("variant", "overrides", "message"),
    [
        ("27m", {}, "unknown"),
        ("./none.toml", {}, "no such file"),
        ("26m", {"token": 3}, "token: no such field"),
        ("26m", {"tokens": 0}, "tokens: expected `int` >= 1, found 0"),
        ("26m", {"tokens": None}, "tokens"),
    ],
)
def test_create_model_says_what_is_wrong(variant: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mfedge.create_model(variant, **overrides)


# weights convert


def test_a_converted_file_holds_the_same_tensors_and_nothing_else(state: State, tmp_path: Path) -> None:
    shared = {**state, "again": state["stem.0.conv.weight"]}
    source, destination = saved({"state_dict": shared, "optimizer": {"lr": 1}}, tmp_path), tmp_path / "w.safetensors"
    assert convert(source, destination) == len(shared)
    loaded = safetensors.torch.load_file(destination)
    assert loaded.keys() == shared.keys()
    assert all(torch.equal(loaded[key], value) for key, value in shared.items())
    digest = sha256(destination)
    convert(source, destination)
    assert sha256(destination) == digest


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, 2).to_sparse(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.ones(2, device="meta"),
    ],
    ids=["sparse", "quantised", "meta"],
)
def test_a_tensor_that_safetensors_cannot_hold_is_named(tensor: Tensor, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"odd\.weight"):
        write_safetensors({"odd.weight": tensor}, tmp_path / "w.safetensors", Path("weights.pth"))
    assert not list(tmp_path.iterdir())


# In a process of its own


def test_a_torch_file_is_read_in_a_worker(state: State, public: State, tmp_path: Path) -> None:
    net = mfedge.create_model("26m", saved({"state_dict": state}, tmp_path))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_a_deflated_bomb_is_one_line(tmp_path: Path) -> None:
    """Half a megabyte that is half a gigabyte once it is inflated; PyTorch alone takes 0.7 GiB of address space."""
    path = saved({"weight": torch.zeros(128 << 20)}, tmp_path)
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as deflated:
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="memory") as caught:
        read_state_dict(bomb, Limits(memory_bytes=1 << 30))
    assert str(bomb) in str(caught.value) and "\n" not in str(caught.value)


def test_a_small_storage_expanded_to_gigabytes_is_one_line(tmp_path: Path) -> None:
    path = saved({"weight": torch.zeros(8).expand(1 << 30, 8)}, tmp_path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="expected at most 4,294,967,296 bytes"):
        read_state_dict(path)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pth")
    assert "regular file" in refused(tmp_path / "weights.pth")
    assert "regular file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("stem.0.conv.weight", float("nan"), "not finite"),
        ("stem.0.conv.weight", float("-inf"), "not finite"),
        ("stem.0.conv.weight", 1e30, "no trained network"),
        ("stem.0.norm.running_var", -1e-3, "variances below zero"),
        ("tokens", torch.bool, "another kind"),
        ("tokens", torch.complex64, "another kind"),
        ("tokens", torch.int32, "another kind"),
        ("stem.0.norm.num_batches_tracked", -5, "no counts"),
        ("stem.0.norm.num_batches_tracked", torch.bool, "no counts"),
        ("stem.0.norm.num_batches_tracked", torch.complex64, "no counts"),
        ("stem.0.norm.num_batches_tracked", torch.float32, "no counts"),
    ],
)
def test_numbers_that_no_network_has_are_named(
    entry: str, value: float | torch.dtype, said: str, state: State, tmp_path: Path
) -> None:
    bad = {key: tensor.clone() for key, tensor in state.items()}
    if isinstance(value, torch.dtype):
        bad[entry] = bad[entry].to(value)
    else:
        bad[entry].view(-1)[-1] = value
    message = refused(saved(bad, tmp_path))
    assert said in message and entry in message
