"""--sizes: what is accepted, what is refused in one line."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfedge.errors import UsageError
from mfedge.sizes import LARGEST, SMALLEST, Size, parse_size, parse_sizes

sides = st.integers(SMALLEST, LARGEST)


def squares(*values: int) -> list[Size]:
    return [Size(value, value) for value in values]


def test_forms() -> None:
    assert parse_sizes("224..1024") == squares(224, 304, 384, 464, 544, 624, 704, 784, 864, 944, 1024)
    assert parse_sizes("224..320+32") == squares(224, 256, 288, 320)
    assert parse_sizes("224..300+32") == squares(224, 256, 288, 300), "both ends, even if the last step is short"
    assert parse_sizes("750, 224,512,224") == squares(224, 512, 750)
    assert parse_sizes("320x256") == [Size(320, 256)]
    assert str(Size(320, 256)) == "320x256"
    assert str(Size(224, 224)) == "224"


@pytest.mark.parametrize(
    "text",
    ["", "abc", "0", "31", "4097", "-224", "224..", "..224", "1024..224", "224..1024+0", "224..1024+", "224x", "x224",
     "1e3", "224.5", "224;512", "32..4096+1", "99999999999999999999", "224,,512", "２２４", "224..1024..2"],
)  # fmt: skip
def test_nonsense_is_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sizes(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--sizes")


@given(sides, sides, st.integers(64, 5000))
def test_ranges_hold_both_ends_and_no_step_is_longer(a: int, b: int, step: int) -> None:
    first, last = sorted((a, b))
    sizes = [size.height for size in parse_sizes(f"{first}..{last}+{step}")]
    assert sizes[0] == first
    assert sizes[-1] == last
    assert all(0 < after - before <= step for before, after in pairwise(sizes))


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=8))
def test_what_is_printed_parses_again(pairs: list[tuple[int, int]]) -> None:
    sizes = {Size(height, width) for height, width in pairs}
    parsed = parse_sizes(",".join(map(str, sizes)))
    assert set(parsed) == sizes
    assert [size.pixels for size in parsed] == sorted(size.pixels for size in parsed)


def test_one_size() -> None:
    assert (parse_size("512"), parse_size("320x256")) == (Size(512, 512), Size(320, 256))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("224y", r"^--size 224y: expected one size, 512 or HEIGHTxWIDTH, found '224y'$"),
        ("224..1024", r"^--size 224\.\.1024: expected one size"),
        ("224,512", r"^--size 224,512: expected one size"),
        ("8", r"^--size 8: expected 32 to 4096 pixels per side, found 8$"),
    ],
)
def test_what_is_not_one_size_is_refused_under_its_option(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_size(text)
