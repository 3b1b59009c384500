"""Parts of mfedge that bring large libraries are extras of its distribution: `pip install 'mfedge[export]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mfedge.errors import MissingRuntimeError


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """A missing import inside the block is one line that names the extra.

    Args:
        extra: of the distribution.
        what: cannot be done without it.

    Raises:
        MissingRuntimeError: in place of ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{what}: needs more than is installed ({error}); pip install 'mfedge[{extra}]'"
        raise MissingRuntimeError(message) from None
