"""What code that opens somebody else's file says of it: which library reads which file, and that it is still at work.

In a worker this travels to the parent, which can then say what the library did if the worker dies. In any other process
only the errors are translated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mfedge.errors import ArtifactError, MfedgeError

ALIVE_EVERY = 1.0  # seconds between two signs of life
OUT_OF_MEMORY = (
    "bad_alloc",
    "failed to map segment",
    "not enough memory",
    "can't allocate memory",
    "failed to allocate",
    "cannot allocate",
)
LONGEST = 300  # characters of a library's reason
CHECK = re.compile(r"Check '.*?' failed at \S+:\d+:\s*")  # how OpenVINO begins a reason
PLACES = ("Exception from ", "Traceback ", "File ")  # lines that name a place in a library's sources

# A worker puts its own functions here.
announce: Callable[[str, Path, type[MfedgeError]], None] = lambda library, path, refuse: None  # noqa: E731 - a place
sign_of_life: Callable[[], None] = lambda: None  # noqa: E731 - a place, not a function
_last = 0.0


@contextmanager
def opening(library: str, path: Path, refuse: type[MfedgeError] = ArtifactError) -> Iterator[None]:
    """Around everything that a library, or mfedge's own reader, does with a file.

    Args:
        library: as the user knows it: "onnxruntime".
        path: of the file.
        refuse: the error that such a file is refused with.

    Raises:
        refuse: the block raised what is not one of mfedge's errors. A damaged file can have any reader raise anything,
            a KeyError or a RecursionError as well as the library's own exceptions: all of it is the file's fault.
    """
    announce(library, path, refuse)
    try:
        yield
    except MfedgeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise refuse(f"{path}: {library} needs more memory for it than there is") from error
        raise refuse(f"{path}: {library} cannot read it: {reason(error)}") from error


def alive() -> None:
    """Called in long loops: the limit of time is for what does not come to an end, not for what is slow."""
    global _last
    now = time.monotonic()
    if now - _last > ALIVE_EVERY:
        _last = now
        sign_of_life()


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is a library's way to say so."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in OUT_OF_MEMORY)


def reason(error: Exception) -> str:
    """The line of a library's message that says what is wrong: not where in its sources, and not its stack."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(PLACES)]
    text = CHECK.sub("", " ".join(told)).strip() or type(error).__name__
    if not isinstance(error, RuntimeError | ValueError | OSError) and text != type(error).__name__:
        text = f"{type(error).__name__}: {text}"  # KeyError('x') says only 'x'
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
