"""Weights that a file cannot hold, or with which the network itself overflows, are the checkpoint's fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.errors import CheckpointError
from mfedge.formats.table import FORMATS
from mfedge.kernels import find
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.conftest import network
from tests.support.models import write_network

KERNELS = [
    "portable",
    pytest.param("native", marks=pytest.mark.skipif(find.find("kernels") is None, reason="kernels are not built")),
]


def with_large_gate(value: float) -> nn.Module:
    """A gate's weight of this size, which parity at 2e-2 need not see: the gate is a sigmoid, and saturates."""
    net = network("26m")
    with torch.no_grad():
        dict(net.named_parameters())["blocks.1.mobile.act1.hyper.2.weight"][0, 0] = value
    return net


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_weight_beyond_float16_is_named(name: str, kernels: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="up to 65504, found") as caught:
        write_network(with_large_gate(1e6), name, tmp_path, precision="fp16", kernels=kernels)
    assert "--precision fp32" in str(caught.value)
    write_network(with_large_gate(1e6), name, tmp_path, precision="fp32", kernels=kernels)


def test_a_network_that_overflows_is_not_a_matter_of_parity(tmp_path: Path) -> None:
    state = {key: value * 1e9 if value.dim() == 4 else value for key, value in network("26m").state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "large.safetensors")
    request = Request.of(load_spec("26m"), ("onnx",), Size(64, 64), weights=tmp_path / "large.safetensors")
    with pytest.raises(CheckpointError, match="not finite"):
        export(request, tmp_path / "out")
    assert not (tmp_path / "out").exists()
