"""A backbone answers the maps of all its stages and its tokens; the classifier stands on the last."""

from __future__ import annotations

import pytest
import torch

from mfedge.families.mobile_former.spec import MobileFormerSpec
from mfedge.nn.mobile_former import MobileFormer, MobileFormerBackbone
from mfedge.zoo import build, load_spec, random_weights, variants
from tests.conftest import network

# Channels of the maps at 1/2, 1/4, 1/8, 1/16 and 1/32 (architecture: stem and b1, b3, C3 = b5, C4 = b9, C5 = b12).
CHANNELS = {
    "mobile-former-508m": (24, 40, 72, 176, 240),
    "mobile-former-294m": (16, 24, 48, 128, 192),
    "mobile-former-214m": (12, 20, 40, 112, 160),
    "mobile-former-151m": (12, 16, 32, 88, 128),
    "mobile-former-52m": (8, 12, 24, 64, 96),
    "mobilenet-v3-large": (16, 24, 40, 112, 960),
}


@pytest.mark.parametrize("variant", CHANNELS)
def test_maps_of_every_stage(variant: str) -> None:
    net = network(variant)
    with torch.inference_mode():
        maps, tokens = net.features(torch.randn(2, 3, 97, 160, generator=torch.Generator().manual_seed(0)))
    assert tuple(x.shape[1] for x in maps) == CHANNELS[variant]
    assert [tuple(x.shape[2:]) for x in maps] == [(49, 80), (25, 40), (13, 20), (7, 10), (4, 5)]
    spec = net.spec
    expected = (2, spec.tokens, spec.token_dim) if isinstance(spec, MobileFormerSpec) else None
    assert (None if tokens is None else tuple(tokens.shape)) == expected


@pytest.mark.parametrize("variant", ["26m", "214m"])
def test_a_stage_ends_with_its_last_block(variant: str) -> None:
    net = network(variant)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps, tokens = net.features(images)
        states = list(net.states(images))
    last = {tuple(x.shape[2:]): x for x, _ in states}  # of blocks with maps of one size the last one counts
    assert all(torch.equal(x, last[tuple(x.shape[2:])]) for x in maps if tuple(x.shape[2:]) in last)
    assert torch.equal(tokens, states[-1][1])


@pytest.mark.parametrize("variant", [name for name in variants() if name.startswith("mobile-former")])
def test_the_backbone_alone_has_the_classifier_s_names(variant: str) -> None:
    spec = load_spec(variant)
    assert isinstance(spec, MobileFormerSpec)
    whole = random_weights(build(spec))
    backbone = MobileFormerBackbone(spec).eval()
    theirs = {name: value for name, value in whole.state_dict().items() if name in backbone.state_dict()}
    backbone.load_state_dict(theirs)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert isinstance(whole, MobileFormer)
    with torch.inference_mode():
        for ours, expected in zip(backbone.features(images).maps, whole.features(images).maps, strict=True):
            assert torch.equal(ours, expected)
