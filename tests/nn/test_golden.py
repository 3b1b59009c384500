"""The public classifiers' outputs, token states and feature statistics are reproduced from their own checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mfedge
from tests.data.golden import state_dict as golden

FOLDER = Path(golden.__file__).parent
CASES = [(0, 224, 224), (1, 256, 320)]


@pytest.fixture(scope="module", params=["26m", "52m", "294m"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    state = {key: torch.from_numpy(value) for key, value in golden.state_dict(f"mobile_former_{request.param}").items()}
    path = tmp_path_factory.mktemp("golden") / "public.pth"
    torch.save(state, path)
    return mfedge.create_model(request.param, path)


@pytest.mark.parametrize(("seed", "height", "width"), CASES)
def test_the_public_outputs_are_reproduced(network: torch.nn.Module, seed: int, height: int, width: int) -> None:
    stored = np.load(FOLDER / f"mobile_former_{network.spec.name.rpartition('-')[2]}.npz")
    images = torch.from_numpy(golden.image(seed, height, width))
    with torch.inference_mode():
        logits = network(images)[0]
        states = list(network.states(images))
        tokens = torch.stack([tokens[0] for _, tokens in states])
        features = torch.stack([torch.stack([x.mean(), x.std()]) for x, _ in states])
    for name, ours in (("logits", logits), ("tokens", tokens), ("features", features)):
        expected = stored[f"{name}_{seed}_{height}x{width}"]
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
