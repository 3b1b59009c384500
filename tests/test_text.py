"""No text of somebody else's makes an output do anything: each target, parsed again, holds the text and no more."""

from __future__ import annotations

import csv
import html
import io
import json
import random
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mfedge import text
from tests.support.nasty import PIECES, nasty

anything = st.text(st.characters(codec=None), max_size=60) | st.builds(
    lambda seed: nasty(random.Random(seed)), st.integers(0, 10**9)
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Read(HTMLParser):
    """The tags of a document, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("a comment")


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_becomes_one_printable_line(piece: str) -> None:
    assert text.line(f"a{piece}b").isprintable()


@given(anything, st.integers(3, 100))
def test_a_line_is_printable_short_and_stays_as_it_is(foreign: str, limit: int) -> None:
    found = text.line(foreign, limit)
    assert found.isprintable() and len(found) <= limit
    assert text.line(found, limit) == found
    if foreign.isprintable() and len(foreign) <= limit:
        assert found == foreign


def test_what_is_not_printable_is_spelled_and_the_middle_of_what_is_long_is_left_out() -> None:
    assert text.line("a\x1b[31mb\n\u202e\udc80\tc") == "a\\x1b[31mb \\u202e\\udc80 c"
    assert text.line("begins " + "x" * 1_000_000 + "; do this", 40) == "begins xxxxxxxxxxxxxxxxxxx…xxxx; do this"


@given(anything, anything)
def test_a_cell_of_markdown_holds_the_text_and_no_more(one: str, two: str) -> None:
    table = f"| a | b |\n|---|---|\n| {text.markdown(one)} | {text.markdown(two)} |\n"
    read = Read(MARKDOWN.render(table))
    assert set(read.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert read.tags.count("td") == 2
    cells = [line for line in read.text.split("\n") if line.strip() or line == ""]
    assert "".join(cells) == "ab" + text.line(one).strip() + text.line(two).strip()


@given(anything)
def test_an_item_of_markdown_holds_the_text_and_no_more(foreign: str) -> None:
    read = Read(MARKDOWN.render(f"- {text.markdown(foreign)}\n"))
    assert read.tags in (["ul", "li"], ["ul", "li", "p"])
    assert read.text.strip("\n") == text.line(foreign).strip()


@given(anything)
def test_an_element_and_an_attribute_hold_the_text_and_no_more(foreign: str) -> None:
    written = text.html(foreign)
    read = Read(f'<p title="{written}">{written}</p>')
    assert read.tags == ["p"]
    assert html.unescape(written) == read.text == text.line(foreign)


@given(anything)
def test_a_cell_of_csv_is_no_formula(foreign: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([text.csv(foreign), "next"])
    ((cell, following),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert following == "next" and cell.isprintable()
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
    assert cell.removeprefix("'") == text.line(foreign) or cell == text.line(foreign)


@given(st.dictionaries(anything, anything | st.integers(), max_size=3))
def test_json_stays_data_and_is_printable(value: dict[str, object]) -> None:
    document = text.json(json.dumps(value, ensure_ascii=False, indent=1))
    assert all(line.isprintable() for line in document.split("\n"))
    assert json.loads(document) == json.loads(json.dumps(value))
