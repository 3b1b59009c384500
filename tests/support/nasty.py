"""Text that somebody may have put into a name, to make whatever shows it do something."""

from __future__ import annotations

import random

PIECES = (
    "\x1b[31;5m", "\x1b]0;owned\x07", "\x1b]52;c;b3duZWQ=\x1b\\", "\x9b2J", "\x00", "\x07", "\x08", "\x7f", "\x85",
    "\u2028", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041", "\udc80", "\ud800", "\n", "\r", "\t", "\v",
    "\r\n# owned\n",
    "[/foo]", "[bold red]", "[link=https://example.org]", ":smile:", "[@click=x]",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "&#x3c;", '"', "'", "-->", "<!--", "]]>",
    "|", "\\|", "`", "```", "**", "__", "_", "~~", "](https://example.org)", "![x](y)", "# ", "- ", "1. ", "> ", "---",
    "\\", "$x^2$", "$\\frac{$", "\\$", "$", "{}", "%s", "=1+1", "+1", "-1", "@SUM(A1)", "＝1", "\t=1", ",", ";",
    "é", "日本", "×", "𝔘", "x" * 300,
)  # fmt: skip


def nasty(generator: random.Random, most: int = 5) -> str:
    """A few pieces and plain words in any order."""
    words = ["model", "224", " ", "a", *PIECES]
    return "".join(
        generator.choice(words if generator.random() < 0.3 else PIECES) for _ in range(generator.randint(1, most))
    )
