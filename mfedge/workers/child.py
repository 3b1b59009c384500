"""``python -m mfedge.workers.child``: one function, called once, its arguments on standard input.

What a library prints goes to standard error, so that standard output stays the pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import inspect
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from mfedge import plugins, reading
from mfedge.errors import MfedgeError
from mfedge.workers import foreign, messages
from mfedge.workers.process import PARENT

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def confine(memory_bytes: int | None) -> None:
    """Limit this process: its address space, no core dump, and an end when its parent ends.

    Args:
        memory_bytes: of address space.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits of this kind
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes is not None:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
            resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        parent = os.environ.pop(PARENT, None)  # of this process, and not of those that it forks
        if parent is not None and os.getppid() != int(parent):  # it ended before this one could ask to end with it
            os._exit(1)


def decode(value: msgspec.Raw, kind: Any) -> Any:
    """A value of one of the signature's types, from JSON."""
    return msgspec.json.decode(value, type=kind, dec_hook=lambda wanted, found: wanted(found), strict=True)


def encode(value: Any) -> bytes:
    """JSON of an argument or of a result; a path is its text.

    Raises:
        UsageError: a path that nobody can be told of.
    """
    return msgspec.json.encode(value, enc_hook=reading.name_of)


def resolve(name: str) -> Any:
    """The function of "module:function"."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def main() -> None:
    """Read the call, run it, write what it does and its value."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(reply: messages.Reply) -> None:
        pipe.write(msgspec.json.encode(reply) + b"\n")

    def announce(library: str, path: Path, refuse: type[MfedgeError]) -> None:
        send(messages.Opening(library, str(path), refuse.__name__))

    foreign.announce, foreign.sign_of_life = announce, lambda: send(messages.Alive())
    call = msgspec.json.decode(sys.stdin.buffer.readline(), type=messages.Call)
    confine(call.memory_bytes)
    try:
        plugins.load()
        function = resolve(call.function)
        hints = get_type_hints(function)
        arguments = {name: decode(value, hints[name]) for name, value in call.arguments.items()}
        if "progress" in inspect.signature(function).parameters:
            arguments["progress"] = lambda text: send(messages.Doing(text))
        value = encode(function(**arguments))
    except MfedgeError as error:
        send(messages.Refused(type(error).__name__, str(error), error.about, error.exit_code))
    except Exception:  # the parent says what it is, with the traceback if the user asks for it
        send(messages.Fault(traceback.format_exc()))
    else:
        send(messages.Done(msgspec.Raw(value)))
    pipe.close()
    os._exit(0)  # a library that hangs or crashes while it is unloaded has given its answer already


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
