"""The deployed network computes what the network does: every variant and ablation, odd sizes, any batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mfedge.deploy import deploy, trace
from mfedge.nn.layers import ChannelShuffle, Gate, Slopes
from mfedge.zoo import variants
from tests.conftest import network
from tests.nn.ablations import EVERY

FAST = ("mobile-former-26m", "mobile-former-96m", "mobilenet-v3-small")
VARIANTS = pytest.mark.parametrize(
    "variant", [v if v in FAST else pytest.param(v, marks=pytest.mark.slow) for v in variants()]
)
GONE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.Identity, ChannelShuffle, Gate, Slopes)


def assert_same(net: nn.Module, deployed: nn.Module, *size: int) -> None:
    images = torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))
    with torch.inference_mode():
        expected, found = net(images), deployed(images)
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


@VARIANTS
def test_every_variant(variant: str) -> None:
    net = network(variant)
    before = copy.deepcopy(net.state_dict())
    deployed = deploy(net)
    assert_same(net, deployed, 2, 3, 65, 97)
    assert_same(net, deployed, 1, 3, 32, 32)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items()), "it was to be left alone"
    assert not [name for name, module in deployed.named_modules() if isinstance(module, GONE)]


@pytest.mark.parametrize("base", ["26m", pytest.param("294m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("row", EVERY)
def test_every_ablation(row: str, base: str) -> None:
    net = network(base, *EVERY[row], "image_size=64")
    deployed = deploy(net)
    assert_same(net, deployed, 2, 3, 64, 64)
    if row != "T7 position mixing":
        assert_same(net, deployed, 2, 3, 65, 41)


@pytest.mark.parametrize("fields", [("tokens=1",), ("groups=1",), ("kernel=1",), ("activation=relu", "tokens=64")])
def test_fields_at_their_ends(fields: tuple[str, ...]) -> None:
    net = network("26m", *fields)
    assert_same(net, deploy(net), 2, 3, 40, 40)


def test_a_network_in_training_mode_is_deployed_for_inference() -> None:
    net = network("26m")
    deployed = deploy(net.train())
    assert net.training
    assert_same(net.eval(), deployed, 2, 3, 48, 48)


def test_a_trace_keeps_each_fused_operator_as_one_node() -> None:
    program = trace(deploy(network("26m")), 64, 96)
    fused = [str(n.target) for n in program.graph.nodes if n.op == "call_function" and "mfedge" in str(n.target)]
    counts = {name: fused.count(f"mfedge.{name}.default") for name in
              ("mobile_to_former", "former_to_mobile", "former_attention", "dynamic_relu")}  # fmt: skip
    blocks = 8
    assert counts == {
        "mobile_to_former": blocks + 1,
        "former_to_mobile": blocks,
        "former_attention": blocks,
        "dynamic_relu": 2 * blocks,
    }
    assert all(node.meta.get("nn_module_stack") for node in program.graph.nodes if "mfedge" in str(node.target))
