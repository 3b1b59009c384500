"""The network as one operator a block computes what the network does: by the references and by the native kernels."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import mfedge
from mfedge import kernels
from mfedge.count import count
from mfedge.deploy import deploy, trace
from mfedge.deploy.fuse_blocks import Block, FusedOperator
from mfedge.errors import MfedgeError, UnsupportedError, UsageError
from mfedge.kernels import find as native
from mfedge.kernels.layout import Config, Kind
from mfedge.ops.block import parts
from mfedge.runtimes import load
from mfedge.zoo import load_spec, variants
from tests.conftest import network
from tests.data.golden import state_dict as golden
from tests.support.models import logits

FORMERS = [variant for variant in variants() if variant.startswith("mobile-former")]
BUILT = pytest.mark.skipif(native.find("kernels") is None, reason="the native kernels are not built")


@pytest.fixture(params=["references", pytest.param("native", marks=BUILT)])
def computed_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "references":
        monkeypatch.setenv("MFEDGE_NATIVE", "0")
    else:
        monkeypatch.delenv("MFEDGE_NATIVE", raising=False)
    return str(request.param)


def assert_same(net: nn.Module, deployed: nn.Module, *size: int) -> None:
    images = torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))
    with torch.inference_mode():
        expected, found = net(images), deployed(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("variant", FORMERS)
def test_every_variant(variant: str, computed_by: str) -> None:
    net = network(variant)
    before = copy.deepcopy(net.state_dict())
    deployed = deploy(net, kernels="native")
    assert_same(net, deployed, 2, 3, 65, 97)
    assert_same(net, deployed, 1, 3, 32, 32)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items()), "it was to be left alone"
    assert {type(part).__name__ for part in deployed.modules() if isinstance(part, FusedOperator)} == {
        "Stem", "Block", "Head",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("variant", FORMERS)
def test_every_variant_at_an_odd_size(variant: str, computed_by: str) -> None:
    net = network(variant, num_classes=37)
    assert_same(net, deploy(net, kernels="native"), 3, 3, 225, 191)


@pytest.mark.parametrize(
    "fields",
    [("activation=relu",), ("former_ffn=false",), ("activation=relu", "former_ffn=false"), ("tokens=1",),
     ("tokens=16",), ("groups=1",), ("token_dim=20",)],
)  # fmt: skip
def test_every_field_the_kernels_know(fields: tuple[str, ...], computed_by: str) -> None:
    net = network("26m", *fields, num_classes=11)
    assert_same(net, deploy(net, kernels="native"), 2, 3, 51, 38)


@pytest.mark.parametrize("variant", ["26m", "52m", "294m"])
@pytest.mark.parametrize(("seed", "height", "width"), [(0, 224, 224), (1, 256, 320)])
def test_the_public_outputs_are_reproduced(
    variant: str, seed: int, height: int, width: int, computed_by: str, tmp_path: Path
) -> None:
    state = {key: torch.from_numpy(value) for key, value in golden.state_dict(f"mobile_former_{variant}").items()}
    torch.save(state, tmp_path / "public.pth")
    deployed = deploy(mfedge.create_model(variant, tmp_path / "public.pth"), kernels="native")
    stored = np.load(Path(golden.__file__).parent / f"mobile_former_{variant}.npz")
    expected = stored[f"logits_{seed}_{height}x{width}"]
    with torch.inference_mode():
        found = deployed(torch.from_numpy(golden.image(seed, height, width)))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_weights_that_change_after_deploying(computed_by: str) -> None:
    """Written to in place, as load_state_dict does: the next run computes with the new ones."""
    first, second = network("26m"), network("26m")
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
    deployed, other = deploy(first, kernels="native"), deploy(second, kernels="native")
    assert_same(first, deployed, 1, 3, 40, 40)
    deployed.load_state_dict(other.state_dict())
    assert_same(second, deployed, 1, 3, 40, 40)


def test_deployed_in_inference_mode_it_runs_natively_too(computed_by: str) -> None:
    with torch.inference_mode():
        net = network("26m")
        deployed = deploy(net, kernels="native")
    assert not any(buffer.is_inference() for buffer in deployed.buffers())
    assert_same(net, deployed, 1, 3, 40, 40)


@pytest.mark.parametrize("variant", ["214m", "26m"])
def test_multiply_adds_are_those_of_the_network(variant: str) -> None:
    """Of 26M with its groups written out, as every export has them; the first query of all is a constant."""
    spec = load_spec(variant, ["groups=1"])
    deployed = deploy(network(variant, "groups=1"), kernels="native")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deployed(torch.zeros(1, 3, 97, 161))
    first_query = spec.tokens * spec.token_dim * spec.blocks[0].out
    assert counter.get_total_flops() // 2 == count(spec, 97, 161).madds - first_query


def test_a_trace_has_one_node_a_block() -> None:
    program = trace(deploy(network("214m"), kernels="native"), 64, 96, dynamic=True)
    names = [str(node.target) for node in program.graph.nodes if "mfedge" in str(node.target)]
    assert names == ["mfedge.stem.default", *["mfedge.block.default"] * 11, "mfedge.head.default"]
    assert sum(node.op == "call_function" and "getitem" not in str(node.target) for node in program.graph.nodes) == 13
    paths = [list(n.meta["nn_module_stack"].values())[-1][0] for n in program.graph.nodes if "mfedge" in str(n.target)]
    assert paths == ["stem", *(f"blocks.{i}" for i in range(1, 12)), "head"]
    images = torch.randn(1, 3, 129, 71)
    assert_same(program.module(), deploy(network("214m")), *images.shape)


def test_the_buffers_are_what_the_kernels_take() -> None:
    deployed = deploy(network("26m"), kernels="native")
    assert deployed.tokens.shape == (1, 3, 128)
    for part in deployed.modules():
        if isinstance(part, Block):
            assert part.weights.dtype is part.matrices.dtype is torch.float32
            assert part.weights.dim() == part.matrices.dim() == 1
    assert not list(deployed.parameters()), "all are buffers: nothing here is trained"


def test_a_query_belongs_to_the_operator_before() -> None:
    """The one that writes the map; 1/√d is in it."""
    net = network("26m")
    deployed = deploy(net, kernels="native")
    bridges = [*(block.mobile_to_former for block in net.blocks[1:]), net.mobile_to_former]
    shape, flat = (3, net.blocks[1].mobile_to_former.query.out_features), deployed.stem.weights
    with torch.no_grad():
        assert torch.allclose(
            flat[-shape[0] * shape[1] :].view(shape), bridges[0].query(net.tokens)[0] * bridges[0].scale, rtol=1e-5
        )
        for i, behind in enumerate(bridges[1:], start=1):
            part = deployed.get_submodule(f"blocks.{i}")
            found = parts(Kind.BLOCK, Config(*part.config), part.weights, part.matrices)
            for name in ("weight", "bias"):
                wanted = getattr(behind.query, name) * behind.scale
                assert torch.equal(found[f"next.mobile_to_former.query.{name}"], wanted)
                assert wanted.count_nonzero()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (("kernel=5",), "kernel: "),
        (("mixing=position-mlp",), "mixing: "),
        (("mobile_only=true", "activation=relu"), "mobile_only: "),
        (("activation=spatial-dynamic-relu",), "activation: "),
        (("tokens=17",), "tokens: "),
        (('blocks=[{kind="mobile-former",expand=24,out=8}]',), r"blocks\[0\].kind: "),
        (
            ('blocks=[{kind="bneck-lite",expand=24,out=8},{kind="bneck-lite",expand=24,out=8},'
             '{kind="mobile-former",expand=24,out=8}]',),
            r"blocks\[1\].kind: ",
        ),
    ],
)  # fmt: skip
def test_what_the_kernels_do_not_know_is_refused(fields: tuple[str, ...], named: str) -> None:
    net = network("26m", *fields)
    with pytest.raises(UnsupportedError, match=f"^{named}") as caught:
        deploy(net, kernels="native")
    assert "\n" not in str(caught.value)
    deploy(net)


def test_other_networks_have_no_native_kernels() -> None:
    with pytest.raises(UsageError, match=r"mobilenet-v3-small, only for Mobile-Formers"):
        deploy(network("mobilenet-v3-small"), kernels="native")
    with pytest.raises(UsageError, match="portable, native"):
        deploy(network("26m"), kernels="fast")


@BUILT
def test_pytorch_runs_a_file_that_says_native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MFEDGE_NATIVE", raising=False)
    path = tmp_path / "mine.native.toml"
    path.write_text('base = "26m"\n')
    session = load(path, threads=1)
    assert (session.metadata.kernels, session.metadata.isa) == ("native", kernels.isa())
    images = np.random.default_rng(0).standard_normal((1, 3, 65, 49)).astype(np.float32)
    with torch.inference_mode():
        expected = network("26m")(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits(session, images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    monkeypatch.setenv("MFEDGE_NATIVE", "0")
    with pytest.raises(MfedgeError, match="MFEDGE_NATIVE"):
        load(path, threads=1)
