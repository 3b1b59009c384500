"""`mfedge`: registers every command and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import cast

import typer

from mfedge import plugins
from mfedge.errors import Exit, MfedgeError

# What the command line adds to an error, by what the error is about.
ADVICE = {"kernels": "leave out @native, or use --kernels portable"}
COMMANDS = (
    "info", "export", "verify", "predict", "weights",
    "bench", "report", "profile", "count", "compare", "gate", "doctor",
)  # fmt: skip

# A wrong option or argument, of which typer.BadParameter is one kind; the base has no public name.
USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="mfedge",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Mobile-Former on phones and small CPUs: exact networks, proven exports, believable latency.",
    epilog="Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in Exit) + ".",
)


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
        raise typer.Exit(Exit.USAGE)


def main() -> None:
    """Entry point of the console script."""
    for variable in ("OPENVINO_TELEMETRY_OPT_OUT", "ORT_DISABLE_TELEMETRY"):  # before either library is loaded
        os.environ.setdefault(variable, "1")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        plugins.load()  # before the commands, whose help lists every row
        for command in COMMANDS:
            importlib.import_module(f"mfedge.cli.{command}").register(app)
        sys.exit(app(standalone_mode=False))
    except USAGE_ERROR as error:
        see = f"; see `{error.ctx.command_path} -h`" if error.ctx else ""
        print(f"error: {' '.join(error.format_message().split()).rstrip('.')}{see}", file=sys.stderr)
        sys.exit(Exit.USAGE)
    except MfedgeError as error:
        advice = f"; {ADVICE[error.about]}" if error.about in ADVICE else ""
        print(f"error: {error}{advice}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(Exit.INTERRUPTED)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that what is half done is removed."""
    raise SystemExit(128 + signum)
