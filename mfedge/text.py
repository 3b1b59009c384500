"""Somebody else's text on its way out: what a terminal, Markdown, HTML or a spreadsheet would obey is made visible.

Names of files, tensors and operators, labels, fields of manifests and results, the messages of runtimes: all of it is
foreign, as somebody may have chosen it. Every output passes it through the function of its own here. JSON keeps the
data as it is.
"""

from __future__ import annotations

import html as escapes
import json as standard
import re

LINE = 800  # characters of a message: about ten lines of a terminal
NAME = 48  # characters of a name where a picture has room for it

# Each of these begins or ends something in GitHub's Markdown. A _ between letters or digits does not.
_MARKDOWN = re.compile(r"[\\`*\[\]<|~]|&(?=#?\w)|(?<![^\W_])_|_(?![^\W_])")
# At the start of a line or list item: a heading, a list, a rule; a quotation. A number or a sign before one is none.
_BLOCK = re.compile(r"\d*[#+=.)-](?=[#=-]*(?:\s|$))|>")
# What a spreadsheet takes for a formula, in the wide forms of East Asian keyboards too.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def line(text: object, limit: int = LINE) -> str:
    """One printable line.

    A line break, tab or any other white space becomes a space. Control characters, escape sequences, marks that
    reorder or hide text, and lone surrogates are spelled as Python spells them: ``\\x1b``, ``\\u202e``. The middle of
    what is too long is left out, as a message's advice stands at its end.

    Args:
        text: anything; its str() is taken.
        limit: characters of the result, at least 3.
    """
    found = _shortened(str(text), limit)
    if found.isprintable():
        return found
    return _shortened("".join(char if char.isprintable() else _spelled(char) for char in found), limit)


def markdown(text: object, limit: int = LINE) -> str:
    """Text of a line, a list item or a table's cell of GitHub's Markdown, which it cannot leave and not format."""
    found = _MARKDOWN.sub(r"\\\g<0>", line(text, limit).strip())
    block = _BLOCK.match(found)
    return f"{found[: block.end() - 1]}\\{found[block.end() - 1 :]}" if block else found


def html(text: object, limit: int = LINE) -> str:
    """Text of an element or of a quoted attribute."""
    return escapes.escape(line(text, limit))


def csv(text: object, limit: int = LINE) -> str:
    """Text of a CSV cell that no spreadsheet takes for a formula: one that looks like it begins with an apostrophe."""
    found = line(text, limit)
    return f"'{found}" if found.lstrip().startswith(_FORMULA) else found


def json(document: str) -> str:
    """The same JSON document with every character that is not printable escaped, so that a terminal may show it."""
    return re.sub(
        r"[^\x00-\x7e]", lambda match: match[0] if match[0].isprintable() else standard.dumps(match[0])[1:-1], document
    )


def is_utf8(text: str) -> bool:
    """Whether a name can be written in UTF-8; one from the system that is not has lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _spelled(char: str) -> str:
    return " " if char.isspace() else char.encode("unicode_escape").decode("ascii")


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    end = (limit - 1) // 3
    return f"{text[: limit - 1 - end]}…{text[len(text) - end :]}"
