"""What many tests need: one thread a process (two run side by side), and small networks that carry signal."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell starts in the background; tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

from mfedge.families.spec import Spec
from mfedge.zoo import build, load_spec, random_weights

torch.set_num_threads(1)


def network(variant: str, *overrides: str, num_classes: int = 1000) -> torch.nn.Module:
    """A variant with the random weights that commands use."""
    return random_weights(build(load_spec(variant, overrides), num_classes))


@pytest.fixture(scope="session")
def small_spec() -> Spec:
    """Mobile-Former-26M: the smallest variant, and the only one with every kind of layer."""
    return load_spec("26m")
