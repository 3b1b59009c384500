"""The JSON of what is stored (results, profiles, figures, gate reports, studies), laid out to be read as a diff.

Its limits are here too: a file within them was stored by a measurement, or can at least be reported like one.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mfedge import text

MOST_CASES = 10_000  # of a result: 128 sizes of 13 models in 6 runtimes; its tables have so many cells
MOST_VISITS = 10_000  # of a case: an interval resamples them 4000 times, which takes a second and 320 MB
MOST_SAMPLES = 10_000  # of a visit
MOST_OPERATORS = 100_000  # of a profile

Text = Annotated[str, Meta(max_length=10_000)]
Seconds = Annotated[float, Meta(ge=1e-9, le=1e9)]  # of an inference or a run: from a nanosecond to thirty years
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
Count = Annotated[int, Meta(ge=0, le=1 << 60)]


def too_many(models: int, runtimes: int, sizes: int) -> str:
    """The line for a run whose tables would have more cells than MOST_CASES, whether they are empty or not."""
    return (
        f"expected at most {MOST_CASES:,} of models times runtimes times sizes, "
        f"found {models} times {runtimes} times {sizes}"
    )


def encode(value: object) -> bytes:
    """A value as a JSON file, indented by one space per level, with a newline at the end.

    Two things are one line however long they are: a list of numbers or strings, and an object in a list, if it holds
    nothing deeper than such a list. So the samples of a visit are one line, and so is the visit. What a terminal would
    not print is escaped. The same value gives the same bytes; numbers are written as msgspec writes them, and read
    back as the same numbers.

    Args:
        value: whatever msgspec encodes, a Struct for example.

    Raises:
        TypeError: msgspec does not encode it.
    """
    return text.json(_text(msgspec.json.decode(msgspec.json.encode(value)), "\n")).encode() + b"\n"


def _text(value: Any, line: str) -> str:
    """A decoded value; `line` is a line break and the indentation of the line that the value begins on."""
    inner = f"{line} "
    if _is_flat(value):
        return _one_line(value)
    if isinstance(value, dict):
        fields = [f"{_one_line(name)}: {_text(field, inner)}" for name, field in value.items()]
        return f"{{{inner}{f',{inner}'.join(fields)}{line}}}"
    items = [_one_line(item) if _is_row(item) else _text(item, inner) for item in value]
    return f"[{inner}{f',{inner}'.join(items)}{line}]"


def _is_flat(value: Any) -> bool:
    """A number, a string, null, a list of these, or an empty object."""
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) for item in value)
    return not isinstance(value, dict) or not value


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_flat(field) for field in value.values())


def _one_line(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
