"""Read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mfedge.formats.graph import Graph, Node, Tensor
from mfedge.sizes import Size


def operators(path: Path) -> list[str]:
    """The type of every operator."""
    return [str(name) for name in np.load(path)["operators"]]


def graph(path: Path, size: Size) -> Graph:
    """A chain."""
    nodes = [Node(name, name, (f"{i}",), (f"{i + 1}",), 0) for i, name in enumerate(operators(path))]
    tensors = {f"{i}": Tensor((1, 3, size.height, size.width), 4, False, True) for i in range(len(nodes) + 1)}
    return Graph(tuple(nodes), tensors, ("0",), (f"{len(nodes)}",))
