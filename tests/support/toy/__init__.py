"""A format, a runtime and a family that the package knows nothing of: MFEDGE_PLUGINS=tests.support.toy adds them.

What a row and a module of each have to have, and nothing more; CONTRIBUTING's recipes are these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from mfedge.families.costs import PartCount, Tally
from mfedge.families.spec import Spec, halved
from mfedge.families.table import Family
from mfedge.families.table import add as add_family
from mfedge.formats.table import Format
from mfedge.formats.table import add as add_format
from mfedge.runtimes.table import RuntimeRow
from mfedge.runtimes.table import add as add_runtime


class ToySpec(Spec, frozen=True, forbid_unknown_fields=True, tag_field="family", tag="toy"):
    """One convolution and one Linear layer."""

    channels: Annotated[int, Meta(ge=1, le=64)] = 8


def parts(spec: ToySpec, height: int, width: int, num_classes: int) -> Iterator[PartCount]:
    """Two rows."""
    H, W = halved(height), halved(width)
    tally = Tally()
    tally.conv(3, spec.channels, H * W, kernel=3)
    yield tally.row("stem", "stem", (3, height, width), (spec.channels, H, W))
    tally = Tally()
    tally.linear(spec.channels, num_classes)
    yield tally.row("classifier", "classifier", (spec.channels,), (num_classes,))


add_family(Family(label="Toy", spec=ToySpec, network="tests.support.toy.network:Toy", parts=parts))
add_format(Format("toy", "Toy", "model.toy", "toy-runtime", "tests.support.toy", ("numpy",), "numpy"))
add_runtime(RuntimeRow("toy-runtime", "Toy Runtime", "tests.support.toy.runtime", ".toy", "#123456", "numpy", "numpy"))
