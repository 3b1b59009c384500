"""Each rewrite alone: its pattern is gone from the graph, and the numbers are the same.

`random_weights` draws the weights at fan_in^-1/2 and BatchNorm's statistics away from their defaults:
as initialised for training, a rewrite that did nothing or the wrong thing would go unseen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from mfedge.deploy import REWRITES, deploy
from mfedge.deploy.constant_tokens import fold_constants
from mfedge.deploy.dense_pointwise import dense, fold_channel_shuffles
from mfedge.deploy.fold_attention_scale import PROJECTED, fold_attention_scales
from mfedge.deploy.fold_batch_norm import fold_batch_norms
from mfedge.deploy.fold_hard_sigmoid import fold_hard_sigmoids
from mfedge.deploy.graph import calls, drop_inert, to_graph
from mfedge.deploy.merge_projections import merge_projections
from mfedge.deploy.name_operators import Named, name_operators
from mfedge.errors import UnsupportedError
from mfedge.nn.layers import ChannelShuffle, Gate, Slopes
from tests.conftest import network
from tests.nn.ablations import EVERY

Rewrite = Callable[[fx.GraphModule], int]
IMAGES = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def plain_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewrite is algebra, proven on the operators' plain twins; tests/kernels/ holds the kernels against those."""
    monkeypatch.setenv("MFEDGE_NATIVE", "0")


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return network("26m")


def rewritten(net: nn.Module, *rewrites: Rewrite) -> fx.GraphModule:
    """A copy of the network after these rewrites, proven equal after every one of them."""
    graph = to_graph(copy.deepcopy(net))
    with torch.inference_mode():
        expected = net(IMAGES)
        for rewrite in rewrites:
            rewrite(graph)
            graph.graph.eliminate_dead_code()
            graph.delete_all_unused_submodules()
            graph.recompile()
            graph.graph.lint()
            error = (graph(IMAGES) - expected).abs().max() / expected.abs().max()
            assert error <= 1e-5, f"{rewrite.__name__}: {error}"
    return graph


def count(graph: fx.GraphModule, *kinds: type[nn.Module]) -> int:
    return sum(len(list(calls(graph, kind))) for kind in kinds)


def operators(graph: fx.GraphModule, name: str) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if str(node.target) == f"mfedge.{name}.default"]


def test_identities_and_dropouts_are_dropped(net: nn.Module) -> None:
    assert count(to_graph(copy.deepcopy(net)), nn.Identity, nn.Dropout) > 0
    assert count(rewritten(net, drop_inert), nn.Identity, nn.Dropout) == 0


@pytest.mark.parametrize("variant", ["26m", "mobilenet-v3-small"])
def test_batch_norms_are_folded(variant: str) -> None:
    net = network(variant)
    assert count(to_graph(copy.deepcopy(net)), nn.BatchNorm2d) > 20
    graph = rewritten(net, drop_inert, fold_batch_norms)
    assert count(graph, nn.BatchNorm1d, nn.BatchNorm2d) == 0
    assert all(conv.bias is not None for _, conv in calls(graph, nn.Conv2d))


def test_a_batch_norm_whose_convolution_others_read_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y + self.norm(y)

    shared = Shared().eval()
    assert shared.norm.running_mean is not None
    shared.norm.running_mean += 1
    assert count(rewritten(shared, fold_batch_norms), nn.BatchNorm2d) == 1


def test_shuffles_and_grouped_pointwise_convolutions_are_gone(net: nn.Module) -> None:
    before = rewritten(net, drop_inert, fold_batch_norms)
    assert count(before, ChannelShuffle) > 10
    graph = rewritten(net, drop_inert, fold_batch_norms, fold_channel_shuffles)
    assert count(graph, ChannelShuffle) == 0
    assert all(conv.groups in (1, conv.in_channels) for _, conv in calls(graph, nn.Conv2d))


@pytest.mark.parametrize("fields", [("activation=relu",), ("activation=spatial-dynamic-relu",)])
def test_shuffles_are_folded_through_other_activations(fields: tuple[str, ...]) -> None:
    graph = rewritten(network("26m", *fields), drop_inert, fold_batch_norms, fold_channel_shuffles)
    assert all(conv.groups in (1, conv.in_channels) for _, conv in calls(graph, nn.Conv2d))


def test_a_dense_convolution_is_the_grouped_one() -> None:
    conv = nn.Conv2d(12, 8, 1, groups=4)
    x = torch.randn(2, 12, 5, 3)
    torch.testing.assert_close(dense(conv)(x), conv(x))


def test_hard_sigmoids_are_clips(net: nn.Module) -> None:
    graph = rewritten(net, drop_inert, fold_hard_sigmoids)
    assert count(graph, Gate, Slopes) == 0
    clips = {(clip.min_val, clip.max_val) for _, clip in calls(graph, nn.Hardtanh) if not isinstance(clip, nn.ReLU6)}
    assert clips == {(0.0, 2.0), (-1.0, 1.0)}


def test_hard_sigmoids_that_saturate_are_clips_too(net: nn.Module) -> None:
    strong = copy.deepcopy(net)
    with torch.no_grad():
        for name, module in strong.named_modules():
            if isinstance(module, nn.Linear) and ("gate" in name or "hyper" in name):
                module.weight *= 2
    rewritten(strong, drop_inert, fold_hard_sigmoids)
    graph = rewritten(strong, drop_inert)
    outside = [float((x.abs() > 3).float().mean()) for x in saturating_inputs(graph)]
    assert max(outside) > 0.1, "nothing saturates: the test proves nothing"


def saturating_inputs(graph: fx.GraphModule) -> list[Tensor]:
    """What the gates and slopes of a network read."""
    seen: list[Tensor] = []
    for _, module in [*calls(graph, Gate), *calls(graph, Slopes)]:
        module.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.inference_mode():
        graph(IMAGES)
    return seen


def test_scales_are_folded_into_their_projections(net: nn.Module) -> None:
    graph = rewritten(net, fold_attention_scales)
    for node in graph.graph.nodes:
        if node.target in PROJECTED:
            assert node.args[PROJECTED[node.target][1]] == 1.0
    assert all(node.args[3] != 1.0 for node in operators(to_graph(copy.deepcopy(net)), "mobile_to_former"))


def test_what_the_learned_tokens_alone_decide_is_a_constant(net: nn.Module) -> None:
    graph = rewritten(net, drop_inert, fold_hard_sigmoids, fold_constants)
    first = operators(graph, "mobile_to_former")[0]
    assert isinstance(first.args[1], fx.Node)
    assert first.args[1].op == "get_attr"
    targets = [str(node.target) for node in graph.graph.nodes if node.op == "call_module"]
    assert not [target for target in targets if target.startswith("blocks.1.mobile_to_former.query")]
    assert not [target for target in targets if target.startswith("blocks.1.mobile_to_former.gate")]


def test_projections_of_the_same_tokens_are_one(net: nn.Module) -> None:
    plain = rewritten(net, drop_inert, fold_constants)
    graph = rewritten(net, drop_inert, fold_constants, merge_projections)
    merged = [linear for node, linear in calls(graph, nn.Linear) if "projections" in str(node.target)]
    # Behind each of 8 Formers: key, value, two hyper layers, the next query and gate. Within: Former's query alone.
    assert len(merged) == 8
    assert count(plain, nn.Linear) - count(graph, nn.Linear) == 8 * 5
    for node, _ in calls(graph, nn.Linear):
        readers = [n for n, _ in calls(graph, nn.Linear) if n.args[0] is node.args[0]]
        assert len(readers) == 1


def test_operators_are_named_after_their_modules(net: nn.Module) -> None:
    graph = rewritten(net, name_operators)
    names = [str(node.target) for node, _ in calls(graph, Named)]
    assert "blocks.1.mobile_to_former.mobile_to_former" in names
    assert "blocks.1.mobile.act1.dynamic_relu" in names
    assert len(set(names)) == len(names)
    assert not [node for node in graph.graph.nodes if getattr(node.target, "namespace", None) == "mfedge"]


def test_rewrites_find_nothing_in_a_network_without_their_patterns() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x))

    rewritten(Plain().eval(), *(rewrite.apply for rewrite in REWRITES))


def test_every_rewrite_says_how_often_it_applied() -> None:
    counts = deploy(network("26m")).meta["rewrites"]
    layers = list(network("26m").modules())
    assert counts == {
        "inert layers dropped": counts["inert layers dropped"],
        "BatchNorms folded": sum(
            isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) for layer in network("26m").modules()
        ),
        "shuffles and groups folded": counts["shuffles and groups folded"],
        "hard-sigmoids folded": sum(isinstance(layer, Gate | Slopes) for layer in layers),
        "attention scales folded": 3 * 8 + 1,  # of eight blocks, and the last bridge
        "constants folded": counts["constants folded"],
        "projections merged": counts["projections merged"],
        "operators named": 3 * 8 + 1 + 2 * 8,
    }
    assert all(counts.values())
    assert deploy(network("26m"), kernels="native").meta["rewrites"]["blocks fused"] == 10


class Awkward(nn.Module):
    """A BatchNorm that cannot be folded: the convolution before it is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        return (self.norm(x) + x).mean(dim=(2, 3))


def test_a_rewrite_that_should_have_applied_and_did_not_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match=r"^BatchNorms folded: expected none left, found 1: norm; "):
        deploy(Awkward().eval())


@pytest.mark.parametrize("overrides", EVERY.values(), ids=list(EVERY))
@pytest.mark.parametrize("variant", ["26m", "294m"])
def test_no_pattern_is_left_in_any_network(variant: str, overrides: tuple[str, ...]) -> None:
    graph = deploy(network(variant, *overrides))
    assert [place for rewrite in REWRITES for place in rewrite.left(graph)] == []
