"""`mfedge`: registers every command and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import cast

import typer

from mfedge.errors import MfedgeError

COMMANDS = ("info", "export", "verify", "predict", "weights", "bench", "report", "profile", "compare", "gate", "doctor")

# A wrong option or argument, of which typer.BadParameter is one kind; the base has no public name.
USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="mfedge",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Mobile-Former on phones and small CPUs: exact networks, proven exports, believable latency.",
    epilog=(
        "Exit codes: 0 done, 1 regression, 2 usage, 3 inconclusive, 4 environment, 5 parity, 6 damaged artifact, "
        "7 unsupported operator, 8 checkpoint, 9 input file, 10 storage, 130 interrupted."
    ),
)
for command in COMMANDS:
    importlib.import_module(f"mfedge.cli.{command}").register(app)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Mobile-Former on phones and small CPUs: exact networks, proven exports, believable latency."""
    if version:
        from mfedge import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(app(standalone_mode=False))
    except USAGE_ERROR as error:
        see = f"; see `{error.ctx.command_path} -h`" if error.ctx else ""
        print(f"error: {' '.join(error.format_message().split()).rstrip('.')}{see}", file=sys.stderr)
        sys.exit(2)
    except MfedgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that what is half done is removed."""
    raise SystemExit(128 + signum)
