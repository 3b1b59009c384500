"""`mfedge export`: a variant into proven artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mfedge import resources
from mfedge.cli import console
from mfedge.cli.options import Json, NumClasses, Set, Variant, WeightsFile, completing
from mfedge.extras import needing
from mfedge.formats.table import FORMATS
from mfedge.kernels.find import KERNELS
from mfedge.precisions import PRECISIONS
from mfedge.sizes import parse_size


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    variant: Variant,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}; give it again for several.",
            autocompletion=completing(lambda: FORMATS),
        ),
    ] = [],  # noqa: B006  # typer reads the default and never changes it
    size: Annotated[
        str | None, typer.Option("--size", help='"224", "224x320" (height x width) or "dynamic". Default 224.')
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="; ".join(f"{row.name}: {row.label}" for row in PRECISIONS.values()) + ". Default fp32.",
            autocompletion=completing(lambda: PRECISIONS),
        ),
    ] = None,
    kernels: Annotated[
        str | None,
        typer.Option(
            "--kernels",
            help="portable: standard operators; native: mfedge's own. Default portable.",
            autocompletion=completing(lambda: KERNELS),
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="A file of export/ that fixes format, size, precision and kernels.",
            autocompletion=completing(lambda: resources.names("export")),
        ),
    ] = None,
    weights: WeightsFile = None,
    num_classes: NumClasses = 1000,
    output: Annotated[Path, typer.Option("--output", help="The folder the artifact folders go into.")] = Path(
        "artifacts"
    ),
    overrides: Set = [],  # noqa: B006  # typer reads the default and never changes it
    json: Json = False,
) -> None:
    """Export a network to any of the formats, each file proven equal to PyTorch before it exists."""
    from mfedge.artifacts import manifest
    from mfedge.artifacts.request import Request
    from mfedge.artifacts.targets import load_target
    from mfedge.zoo import load_spec

    plan = load_target(target, formats, size, precision, kernels)
    request = Request.of(
        load_spec(variant, overrides), plan.formats, parse_size(plan.size, dynamic=True), plan.precision, weights,
        num_classes, plan.kernels,
    )  # fmt: skip
    if weights is None:
        console.note(console.RANDOM_WEIGHTS)

    with console.progress() as progress:
        progress("loading PyTorch")
        with needing("export", "export"):
            from mfedge.artifacts.export import export as run
        folders = run(request, output, progress)

    results: list[dict[str, Any]] = []
    for folder in folders:
        written = manifest.read(folder)
        results.append(
            {
                "artifact": str(folder),
                "model": str(folder / written.model),
                "bytes": sum(path.stat().st_size for path in folder.glob("model.*")),
                "operators": sum(written.operators.values()),
                "max_relative_error": written.parity.max_relative,
                "bound": written.parity.bound,
                "runtime": f"{written.parity.runtime} {written.parity.runtime_version}",
                "random_weights": written.weights.random,
            }
        )
    if json:
        console.print_json(results)
        return
    for result in results:
        console.out(
            f"{result['artifact']}: {result['bytes'] / 1e6:.1f} MB, {result['operators']} operators, within "
            f"{result['max_relative_error']:.1e} of PyTorch in {result['runtime']} (bound {result['bound']:g})"
        )
