"""Options that several commands share, defined once, and how their texts become values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from mfedge.errors import UsageError

MIN_SIZE, MAX_SIZE = 32, 4096  # pixels a side

Variant = Annotated[
    str, typer.Option("--variant", help='A network of models/: "214m", "mobilenet-v3-large", or ./FILE.toml.')
]
Set = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the spec, for instance tokens=3.")
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="A safetensors or torch checkpoint; random weights without."),
]
NumClasses = Annotated[int, typer.Option("--num-classes", min=1, max=1_000_000, help="Outputs of the classifier.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def parse_size(text: str) -> tuple[int, int] | None:
    """(height, width) of "224" or "224x320"; None of "dynamic".

    Raises:
        UsageError: anything else, or a side outside 32 … 4096 pixels.
    """
    if text == "dynamic":
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text)
    if not match:
        raise UsageError(f'--size {text}: expected HEIGHTxWIDTH, one number for a square, or "dynamic"')
    height, width = int(match[1]), int(match[2] or match[1])
    for side in (height, width):
        if not MIN_SIZE <= side <= MAX_SIZE:
            raise UsageError(f"--size {text}: expected sides from {MIN_SIZE} to {MAX_SIZE} pixels, found {side}")
    return height, width
