"""Legal operators, whatever sizes hypothesis thinks of, and weights for them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from mfedge.kernels.layout import Config, Kind, count, matrices, vectors

pixels = st.integers(1, 40)
small = st.integers(1, 9)


@st.composite
def configs(draw: st.DrawFn, kind: Kind) -> Config:
    """The sizes of a legal operator."""
    heads, former_heads, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    C_out, M = heads * draw(small), draw(st.integers(1, 16))
    C = draw(st.one_of(st.just(C_out), st.integers(1, 36)))
    if kind is Kind.STEM:
        expand = C * draw(st.integers(1, 4))
        return Config(in_channels=C, expand=expand, out_channels=C_out, stride=stride, tokens=M, heads=heads)
    D = former_heads * draw(st.integers(8 // former_heads + 1, 30))
    if kind is Kind.HEAD:
        expand, hidden, classes = draw(st.integers(1, 70)), draw(st.integers(1, 50)), draw(st.integers(1, 50))
        return Config(in_channels=C, expand=expand, tokens=M, token_dim=D, hidden=hidden, classes=classes)
    return Config(
        in_channels=C,
        expand=draw(st.integers(1, 70)) if stride == 1 else C * draw(st.integers(1, 6)),
        out_channels=C_out,
        expand2=0 if stride == 1 else C_out * draw(st.integers(1, 6)),
        stride=stride,
        tokens=M,
        token_dim=D,
        heads=heads,
        former_heads=former_heads,
        ffn=draw(st.one_of(st.just(0), st.integers(1, 90))),
        hyper=draw(st.one_of(st.just(0), st.integers(1, 60))),
    )


def weights_of(kind: Kind, config: Config, half: bool) -> tuple[Tensor, Tensor]:
    """Both vectors, every part scaled to keep its input's size."""
    flat = []
    for layout in (vectors(kind, config), matrices(kind, config)):
        parts = [torch.randn(shape) / max(1, torch.Size(shape[1:]).numel()) ** 0.5 for _, shape in layout]
        flat.append(torch.cat([part.flatten() for part in parts]) if parts else torch.empty(0))
        assert flat[-1].numel() == count(layout)
    return flat[0], flat[1].half() if half else flat[1]
