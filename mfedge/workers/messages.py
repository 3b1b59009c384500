"""What the two sides of a call say to each other, one JSON object per line."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class Call(Struct):
    """To the child: run this function. The values are JSON of the types that its signature names."""

    function: str  # "mfedge.predict:classify"
    arguments: dict[str, msgspec.Raw]
    memory_bytes: int


class Doing(Struct, tag="doing"):
    """What happens next: the function called its `progress`."""

    text: str


class Opening(Struct, tag="opening"):
    """A library is about to read a file."""

    library: str
    path: str
    error: str  # the class that the file is refused with, should the library die of it


class Alive(Struct, tag="alive"):
    """The child is still at work."""


class Done(Struct, tag="done"):
    """The function's value, as JSON."""

    value: msgspec.Raw


class Refused(Struct, tag="refused"):
    """The function raised one of mfedge's errors."""

    error: str  # the class's name
    message: str
    about: str
    exit_code: int


class Fault(Struct, tag="fault"):
    """The function raised something else: a fault of mfedge's own."""

    traceback: str


Reply = Doing | Opening | Alive | Done | Refused | Fault
