"""What a network costs, counted from its spec: parameters and multiply-adds, part by part, without PyTorch.

**Strict** multiply-adds are those of convolutions, Linear layers and attention matmuls, nothing else.

**Paper-like** is a *fitted* convention: the paper does not say how it counts, and this one was found by a search
against its printed numbers. It adds what element-wise steps cost (the constants below), and leaves out Mobile→Former's
gates and the last Mobile→Former, which stands before the classifier.

The tests hold these counts against PyTorch's own counter on the real networks.
"""

from __future__ import annotations

from msgspec import Struct

# Fitted multiply-adds per output element. The ReLU inside a dynamic ReLU's hyper-function and the hard-sigmoids of it
# and of the gate count nothing.
BATCH_NORM = 1.0
RELU6 = 0.5  # a hard-swish counts as the ReLU6 in it
DYNAMIC_RELU = 1.5
SOFTMAX = 1.0  # per element of an attention map

Shape = tuple[int, ...]


class PartCount(Struct, frozen=True):
    """One row: a block, or another part at the network's top level. Shapes are one image's, (C, H, W) or (C,)."""

    name: str
    kind: str
    input: Shape
    output: Shape
    params: int
    madds: int
    madds_paper_like: float | None  # None where the convention was not fitted


class Tally:
    """Adds up one part, layer by layer."""

    def __init__(self) -> None:
        self.params = 0
        self.madds = 0
        self.extra = 0.0  # what the paper-like convention adds to the strict count, or takes off it

    def conv(
        self, inputs: int, outputs: int, pixels: int, kernel: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        """A convolution and, unless it has a bias of its own, the BatchNorm after it; `pixels` of the output."""
        weights = outputs * (inputs // groups) * kernel * kernel
        self.params += weights + (outputs if bias else 2 * outputs)
        self.madds += weights * pixels
        if not bias:
            self.extra += BATCH_NORM * outputs * pixels

    def linear(self, inputs: int, outputs: int, rows: int = 1) -> None:
        """A Linear layer with a bias, applied to `rows` vectors."""
        self.params += inputs * outputs + outputs
        self.madds += inputs * outputs * rows

    def matmul(self, madds: int) -> None:
        """A product of two activations."""
        self.madds += madds

    def norm(self, width: int) -> None:
        """A LayerNorm's gain and bias, or those of a BatchNorm after a Linear layer."""
        self.params += 2 * width

    def elements(self, count: int, each: float) -> None:
        """An element-wise step, at one of the fitted costs."""
        self.extra += each * count

    def row(self, name: str, kind: str, input: Shape, output: Shape, fitted: bool = True) -> PartCount:
        """The finished row."""
        return PartCount(
            name, kind, input, output, self.params, self.madds, self.madds + self.extra if fitted else None
        )
