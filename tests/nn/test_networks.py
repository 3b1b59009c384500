"""What holds for every network: any size from 32 up, any batch, gradients everywhere, images that do not mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mfedge.nn import MobileFormer
from mfedge.zoo import build, load_spec, random_weights, variants
from tests.conftest import network
from tests.data import golden
from tests.nn.ablations import ABLATIONS, EVERY

FAST = ("mobile-former-26m", "mobile-former-96m", "mobilenet-v3-small")
VARIANTS = pytest.mark.parametrize(
    "variant", [v if v in FAST else pytest.param(v, marks=pytest.mark.slow) for v in variants()]
)
ROWS = pytest.mark.parametrize("row", EVERY)
TORCHVISION = {"mobilenet-v3-large": 5_483_032, "mobilenet-v3-small": 2_542_856}


def images(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def small(row: str, *more: str) -> torch.nn.Module:
    """An ablation of the smallest variant; one that fixes the size takes 64 pixels."""
    return network("26m", *EVERY[row], "image_size=64", *more)


def assert_gradients_flow(net: torch.nn.Module) -> None:
    # Attention over a single token is one, whatever is asked of it: its queries and keys change nothing.
    single_token = isinstance(net, MobileFormer) and net.tokens is not None and net.tokens.shape[1] == 1
    net.train()
    net(images(2, 64, 64)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not (single_token and (".former.query." in name or ".key." in name)):
            assert parameter.grad.abs().max() > 0, name


def assert_images_do_not_mix(net: torch.nn.Module, height: int, width: int) -> None:
    batch = images(3, height, width)
    with torch.inference_mode():
        together, alone = net(batch), torch.cat([net(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))
    assert (alone[0] - alone[1]).abs().max() > 1e-3 * alone.abs().max(), "the network ignores its input"


@VARIANTS
def test_gradients_flow_to_every_parameter(variant: str) -> None:
    assert_gradients_flow(network(variant))


@ROWS
def test_gradients_flow_in_every_ablation(row: str) -> None:
    assert_gradients_flow(small(row))


@VARIANTS
def test_a_batch_is_its_images_one_by_one(variant: str) -> None:
    assert_images_do_not_mix(network(variant), 65, 96)


@ROWS
def test_a_batch_is_its_images_one_by_one_in_every_ablation(row: str) -> None:
    assert_images_do_not_mix(small(row), 64, 64)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(FAST), st.integers(1, 3), st.integers(32, 150), st.integers(32, 150))
def test_any_size_and_any_batch(variant: str, batch: int, height: int, width: int) -> None:
    with torch.inference_mode():
        logits = build(load_spec(variant), 10)(images(batch, height, width))
    assert logits.shape == (batch, 10)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 35)])
@pytest.mark.parametrize("row", [row for row in EVERY if row != "T7 position mixing"])
def test_every_ablation_takes_odd_sizes(row: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert torch.isfinite(small(row)(images(2, *size))).all()


@pytest.mark.parametrize("row", [row for row in ABLATIONS if row not in ("T5 3 tokens", "T6 width 128")])  # 26M's own
def test_a_field_changes_what_is_computed(row: str) -> None:
    if ABLATIONS[row]:
        with torch.inference_mode():
            base, other = small("T4 with dynamic ReLU"), small(row)
            assert not torch.equal(base(images(1, 64, 64)), other(images(1, 64, 64)))


def test_spatial_slopes_of_equal_scores_are_the_mean_of_the_tokens_slopes() -> None:
    from mfedge.nn.dynamic_relu import DynamicReLU, SpatialDynamicReLU

    spatial = SpatialDynamicReLU(8, 16)
    random_weights(spatial)
    plain = DynamicReLU(8, 16)
    plain.load_state_dict(spatial.state_dict())
    x, token, flat = images(2, 5, 7).repeat(1, 3, 1, 1)[:, :8], torch.randn(2, 1, 16), torch.zeros(2, 4, 10, 14)
    same = token.expand(2, 4, 16)  # equal tokens: whatever the scores, the slopes are theirs
    torch.testing.assert_close(spatial(x, same, flat.normal_()), plain(x, token))
    tokens = torch.randn(2, 4, 16)
    expected = spatial.hyper(tokens).mean(dim=1)
    a1, a2 = (part[:, :, None, None] for part in expected.chunk(2, dim=1))
    torch.testing.assert_close(spatial(x, tokens, flat.zero_()), torch.maximum((a1 + 1) * x, a2 * x))


def test_states_are_what_forward_computes() -> None:
    net = network("26m")
    assert isinstance(net, MobileFormer)
    with torch.inference_mode():
        *_, (x, tokens) = net.states(images(2, 64, 96))
        assert tokens is not None
        assert tokens.shape == (2, 3, 128)
        assert net.mobile_to_former is not None
        torch.testing.assert_close(net.classifier(x, net.mobile_to_former(x, tokens)), net(images(2, 64, 96)))


@pytest.mark.parametrize("name", ["26m", "52m", "294m"])
def test_the_public_release_has_as_many_values(name: str) -> None:
    shapes = json.loads((Path(golden.__file__).parent / "keys" / f"mobile_former_{name}.json").read_text())
    public = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert public == sum(value.numel() for value in build(load_spec(name)).state_dict().values())


@pytest.mark.parametrize("variant", TORCHVISION)
def test_mobilenet_v3_has_torchvisions_names(variant: str) -> None:
    net = build(load_spec(variant))
    assert sum(parameter.numel() for parameter in net.parameters()) == TORCHVISION[variant]
    keys = net.state_dict().keys()
    expected = ["features.0.0.weight", "features.0.1.running_var", "features.4.block.2.fc1.weight",
                "features.4.block.2.fc2.bias", "features.4.block.3.0.weight", "classifier.0.weight",
                "classifier.3.bias"]  # fmt: skip
    assert set(expected) <= keys
    assert {key.split(".")[0] for key in keys} == {"features", "classifier"}
    if variant == "mobilenet-v3-large":
        assert (len(keys), net.state_dict()["features.4.block.2.fc1.weight"].shape) == (312, (24, 72, 1, 1))
        assert net.state_dict()["features.16.0.weight"].shape == (960, 160, 1, 1)
    else:
        assert len(keys) == 244
