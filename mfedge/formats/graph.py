"""A model file as operators and tensors, sized for one input: what figures and profiles are counted on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path

from msgspec import Struct

from mfedge.errors import ArtifactError, UsageError
from mfedge.sizes import Size

MOST_ELEMENTS = 1 << 40  # of one tensor; the largest network's at the largest image has 1e9
MOST_MADDS = 1 << 56  # the largest network at the largest image has 1e12


class Tensor(Struct, frozen=True):
    """A value between operators, or a constant."""

    shape: tuple[int, ...] | None  # None: not known before it runs
    itemsize: int
    constant: bool
    real: bool  # floating point or quantised: a weight, if constant; not a shape or an index

    @property
    def elements(self) -> int:
        """0 where the shape is not known."""
        return 0 if self.shape is None else prod(self.shape)

    @property
    def bytes(self) -> int:
        """Elements × item size."""
        return self.elements * self.itemsize


class Node(Struct, frozen=True):
    """One operator, in the order of execution."""

    name: str
    type: str
    inputs: tuple[str, ...]  # keys of Graph.tensors
    outputs: tuple[str, ...]
    madds: int  # multiply-adds of convolutions and matrix products; 0 for everything else


class Graph(Struct, frozen=True):
    """A whole network."""

    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def fused(self, nodes: Collection[Node]) -> tuple[int, int]:
        """Multiply-adds of operators that a runtime runs as one, and the bytes that cross their common border."""
        made = {name for node in nodes for name in node.outputs}
        read = {name for node in nodes for name in node.inputs}
        elsewhere = {name for node in self.nodes if node not in nodes for name in node.inputs} | set(self.outputs)
        border = (read - made) | {name for name in made if name in elsewhere or name not in read}
        return sum(node.madds for node in nodes), sum(self.tensors[name].bytes for name in border)

    @property
    def madds(self) -> int:
        """Multiply-adds of the whole network."""
        return sum(node.madds for node in self.nodes)

    @property
    def parameters(self) -> int:
        """Elements of all weights."""
        return sum(tensor.elements for tensor in self.tensors.values() if tensor.constant and tensor.real)

    @property
    def peak_activation_bytes(self) -> int:
        """The most bytes of activations alive at once, in this order, nothing computed in place."""
        last = {name: i for i, node in enumerate(self.nodes) for name in node.inputs}
        last |= {name: len(self.nodes) for name in self.outputs}
        alive = {name for name in self.inputs if not self.tensors[name].constant}
        now = peak = sum(self.tensors[name].bytes for name in alive)
        for i, node in enumerate(self.nodes):
            new = {name for name in node.outputs if name not in alive}
            alive |= new
            now += sum(self.tensors[name].bytes for name in new)
            peak = max(peak, now)
            done = {name for name in (*node.inputs, *node.outputs) if name in alive and last.get(name, i) <= i}
            alive -= done
            now -= sum(self.tensors[name].bytes for name in done)
        return peak


def check_plausible(path: Path, graph: Graph) -> None:
    """Refuse a graph whose figures nothing could hold: a file may state any shape.

    Raises:
        ArtifactError: a tensor or an operator is beyond every network.
    """
    for name, tensor in graph.tensors.items():
        if tensor.shape is not None and (min(tensor.shape, default=0) < 0 or tensor.elements > MOST_ELEMENTS):
            raise ArtifactError(
                f"{path}: expected tensors of at most {MOST_ELEMENTS:g} elements, found {name} of shape {tensor.shape}"
            )
    if graph.madds > MOST_MADDS:
        raise ArtifactError(f"{path}: expected at most {MOST_MADDS:g} multiply-adds, found {graph.madds:g}")


def check_input(path: Path, found: Sequence[int | None], size: Size) -> None:
    """Refuse a file that does not take one image of this size.

    Args:
        path: of the file.
        found: the shape of its one input, as (B, 3, H, W) if it is what mfedge takes; None where it is dynamic.
        size: asked for.

    Raises:
        ArtifactError: the input is not one RGB image.
        UsageError: it is one of another size.
    """
    batch, channels, *sides = found if len(found) == 4 else (0, 0, 0, 0)
    if batch not in (None, 1) or channels not in (None, 3):
        shown = ", ".join("?" if side is None else str(side) for side in found)
        raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found ({shown})")
    if any(side not in (None, wanted) for side, wanted in zip(sides, (size.height, size.width), strict=True)):
        raise UsageError(f"{path}: the model takes {'x'.join(str(side or 'any') for side in sides)}, found {size}")
