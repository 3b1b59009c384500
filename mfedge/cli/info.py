"""`mfedge info`: what every network has and costs, beside the paper; or one of them block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mfedge.cli import console
from mfedge.cli.options import Json, Set, completing, variants
from mfedge.errors import UsageError

if TYPE_CHECKING:
    from mfedge.count import Count


def register(app: typer.Typer) -> None:
    app.command("info")(info)


def info(
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            help="Show this network block by block: a name, or ./FILE.toml.",
            autocompletion=completing(variants),
        ),
    ] = None,
    overrides: Set = [],  # noqa: B006  # typer reads the default and never changes it
    size: Annotated[
        str | None, typer.Option("--size", help='"224" or "320x256" (height x width). Default 224.')
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option("--num-classes", min=1, max=1_000_000, help="Outputs of the classifier. Default 1000.")
    ] = None,
    json: Json = False,
) -> None:
    """Parameters and multiply-adds of every network beside the paper's, or of one block by block."""
    if variant is None:
        for option, value in (("--set", overrides), ("--size", size), ("--num-classes", num_classes)):
            if value:
                raise UsageError(f"{option}: expected together with --variant (the paper's figures are its own)")
    from mfedge import zoo
    from mfedge.sizes import parse_size

    specs = [zoo.load_spec(name, overrides) for name in ([variant] if variant else zoo.variants())]
    pixels = parse_size("224" if size is None else size)

    import msgspec

    from mfedge.count import count

    counts = [count(spec, pixels.height, pixels.width, num_classes or 1000) for spec in specs]
    if json:
        data = [msgspec.to_builtins(counted) for counted in counts]
        for row in data:
            if variant is None:
                del row["blocks"]
        console.print_json(data[0] if variant else data)
        return
    console.table(_blocks(counts[0]) if variant else _overview(counts))


def _overview(counts: list[Count]) -> Any:
    """One row per variant."""
    table = _table("Parameters and multiply-adds of one image, 224x224, 1000 classes")
    table.add_column("variant", no_wrap=True)
    for title in ("parameters", "paper, M", "MAdds, strict", "MAdds, M, paper-like (fitted)", "MAdds, M, paper"):
        table.add_column(title, justify="right", max_width=19)
    for counted in counts:
        paper = counted.paper
        table.add_row(
            counted.name,
            f"{counted.params:,}",
            _figure(paper.params_millions, ".1f"),
            f"{counted.madds:,}",
            _figure(None if counted.madds_paper_like is None else counted.madds_paper_like / 1e6, ".2f"),
            _figure(paper.madds_millions, ".0f"),
        )
    table.caption = (
        "strict: convolutions, Linear layers, attention matmuls. paper-like: element-wise steps as well, a "
        "convention fitted to the paper's numbers; the paper does not state its own."
    )
    return table


def _blocks(counted: Count) -> Any:
    """One row per block."""
    table = _table(
        f"{counted.name}, one image of {counted.height}x{counted.width} (height x width), {counted.num_classes} classes"
    )
    table.add_column("block", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for title in ("input", "output", "parameters", "MAdds, strict", "MAdds, paper-like (fitted)"):
        table.add_column(title, justify="right", max_width=19)
    for block in counted.blocks:
        table.add_row(
            block.name,
            block.kind,
            _shape(block.input),
            _shape(block.output),
            f"{block.params:,}",
            f"{block.madds:,}",
            _figure(block.madds_paper_like, ",.0f"),
        )
    table.add_section()
    total = f"{counted.params:,}", f"{counted.madds:,}", _figure(counted.madds_paper_like, ",.0f")
    table.add_row("total", "", "", "", *total)
    return table


def _table(title: str) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
