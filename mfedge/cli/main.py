"""`mfedge`: registers every command and turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn, cast

import typer

from mfedge import files, plugins, reading
from mfedge.cli import console, signals
from mfedge.errors import Exit, FaultError, MfedgeError

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
    debug: bool = typer.Option(False, "--debug", help="Show where an error comes from; at any place of the line."),
) -> None:
    """Mobile-Former on phones and small CPUs: exact networks, proven exports, believable latency."""
    if version:
        from mfedge import __version__

        console.out(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(Exit.USAGE)


def run() -> NoReturn:
    """Run the command line's command and end the process with its exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        signals.unwind()
        code = _command([argument for argument in arguments if argument != "--debug"])
        console.flush()  # a disk that is full says so here, and not after the last handler
    except BaseException as error:
        code, line = _answer(error)
        if debug and line:
            for told in traceback.format_exc().splitlines():
                console.note(told)
        if line:
            console.error(line)
    signals.end_at_once()
    if signals.received is not None:
        code = 128 + signals.received
    with contextlib.suppress(OSError, ValueError):
        console.flush()
    os._exit(code)  # the runtimes' own threads and destructors have nothing left to do that a user waits for


def _command(arguments: list[str]) -> int:
    """The exit code of one command."""
    plugins.load()  # before the commands, whose help lists every row
    for command in COMMANDS:
        importlib.import_module(f"mfedge.cli.{command}").register(app)
    return int(app(arguments, prog_name="mfedge", standalone_mode=False) or 0)


def _answer(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for whatever ended a command."""
    if isinstance(error, (KeyboardInterrupt, BrokenPipeError, typer.Abort)):
        return Exit.INTERRUPTED, ""
    if isinstance(error, SystemExit):
        unread = isinstance(error.__context__, BrokenPipeError)  # which typer answers with an exit code of its own
        return (Exit.INTERRUPTED if unread else error.code if isinstance(error.code, int) else Exit.DONE), ""
    if isinstance(error, USAGE_ERROR):
        see = f"; see `{error.ctx.command_path} -h`" if error.ctx else ""
        return Exit.USAGE, f"{' '.join(error.format_message().split()).rstrip('.')}{see}"
    if isinstance(error, MfedgeError) and not isinstance(error, FaultError):
        return error.exit_code, f"{error}; {ADVICE[error.about]}" if error.about in ADVICE else str(error)
    if isinstance(error, OSError) and error.errno in files.FULL:
        return Exit.STORAGE, str(files.storage_error(Path(error.filename or "standard output"), error))
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # which the simplest look at a path may raise
        return Exit.USAGE, f"{error.filename}: {reading.TOO_LONG}"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Exit.STORAGE, "out of memory: this command needs more than there is; take a smaller size or model"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return Exit.STORAGE, "too few files may be open at a time; allow more, for instance with `ulimit -n 1024`"
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return Exit.STORAGE, "no more processes or threads may be started; allow more, for instance with `ulimit -u`"
    told = str(error) if isinstance(error, FaultError) else "".join(traceback.format_exception(error))
    return Exit.FAULT, _fault(told)


def _fault(traceback: str) -> str:
    """One line of a fault; the rest of it is for --debug."""
    last = next((line.strip() for line in reversed(traceback.splitlines()) if line.strip()), "unknown")
    return f"a fault of mfedge's own, not of yours: {last}; please report it with what --debug prints"
