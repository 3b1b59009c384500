"""One function called in a worker: the same arguments, the same value, the same errors, and limits."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar, get_type_hints

import msgspec

from mfedge import errors
from mfedge.errors import Exit, FaultError, MfedgeError
from mfedge.workers import messages
from mfedge.workers.child import decode, encode
from mfedge.workers.process import Death, Limits, Process

P = ParamSpec("P")
T = TypeVar("T")


def isolated(
    function: Callable[P, T],
    limits: Limits,
    progress: Callable[[str], None] = lambda text: None,
    environment: Mapping[str, str] = {},
) -> Callable[P, T]:
    """`function`, to be called in a process of its own.

    Args:
        function: of a module, not a closure or a method. Its signature names the types of its arguments and its value,
            which msgspec can write as JSON; a path may be among them. An argument `progress` is passed on.
        limits: of memory, and of the time between two signs of life.
        progress: called with what the function does.
        environment: variables beside those of this process.

    Returns:
        A function that starts the process, waits and returns. It raises what `function` raises of mfedge's errors; if
        the process died or took too long, the error of the file that was opened last; FaultError if anything else went
        wrong in it.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = inspect.signature(function).bind_partial(*args, **kwargs).arguments
        request = messages.Call(
            f"{function.__module__}:{function.__qualname__}",
            {name: msgspec.Raw(encode(value)) for name, value in bound.items()},
            limits.address_space,
        )
        with _worker(limits, environment) as worker:
            value = _answer(worker, request, progress)
        return decode(value, get_type_hints(function)["return"])  # type: ignore[no-any-return]  # is a T

    return call


@contextlib.contextmanager
def _worker(limits: Limits, environment: Mapping[str, str]) -> Iterator[Process]:
    worker = Process("mfedge.workers.child", (), limits, environment)
    try:
        yield worker
    finally:
        worker.close()


def _answer(worker: Process, request: messages.Call, progress: Callable[[str], None]) -> msgspec.Raw:
    """The value, once it comes."""
    opened: messages.Opening | None = None
    decoder = msgspec.json.Decoder(messages.Reply)
    try:
        worker.send(msgspec.json.encode(request))
        while True:
            reply = decoder.decode(worker.receive())
            match reply:
                case messages.Doing(text):
                    progress(text)
                case messages.Opening():
                    opened = reply
                case messages.Alive():
                    pass
                case messages.Done(value):
                    return value
                case messages.Refused() as refused:
                    raise _rebuilt(refused)
                case messages.Fault(traceback):
                    raise FaultError(traceback)
    except Death as death:
        if opened is None:
            raise FaultError(f"a worker process {death.reason}") from None
        raise _error(opened.error)(f"{opened.path}: {opened.library} {death.reason}") from None


def _rebuilt(refused: messages.Refused) -> MfedgeError:
    """The error that the function raised."""
    kind = _error(refused.error)
    error: MfedgeError = kind.__new__(kind)
    MfedgeError.__init__(error, refused.message, refused.about)
    error.exit_code = Exit.of(refused.exit_code)
    return error


def _error(name: str) -> type[MfedgeError]:
    """One of mfedge's errors; MfedgeError for the class of somebody else's module."""
    found = getattr(errors, name, MfedgeError)
    assert issubclass(found, MfedgeError)
    return found
