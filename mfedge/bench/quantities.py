"""Durations ("5m"), shares ("3%") and comma lists as people type them, and numbers as people read them."""

from __future__ import annotations

import re

from mfedge.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_EXPONENT = {"M": 20, "G": 30, "T": 40}
LEAST_MEMORY = 64 << 20
LONGEST = 24 * 3600.0  # a budget over a day is a typing error


def duration(text: str) -> float:
    """ "90", "90s", "5m", "1.5h" → seconds.

    Raises:
        UsageError: anything else, zero, or more than a day.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"duration {text!r}: expected for instance 90s, 5m or 1.5h, at most 24h")
    return seconds


def size_in_bytes(text: str) -> int:
    """ "512M", "8G", "1.5GiB" → bytes; the units are powers of 1024.

    Raises:
        UsageError: anything else, or less than 64M, with which no runtime starts.
    """
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([MGT])(?:i?B)?\s*", text, re.IGNORECASE | re.ASCII)
    count = round(float(match[1]) * 2 ** _EXPONENT[match[2].upper()]) if match else 0
    if count < LEAST_MEMORY:
        raise UsageError(f"size {text!r}: expected for instance 512M or 8G, at least 64M")
    return count


def share(text: str) -> float:
    """ "3%" or "0.03" → 0.03.

    Raises:
        UsageError: anything else, a negative share, or 100% and more.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= value < 1:
        raise UsageError(f"share {text!r}: expected for instance 3% or 0.03, below 100%")
    return value


def names(text: str) -> list[str]:
    """ "a,b , c" → ["a", "b", "c"], order kept, repeats dropped.

    Raises:
        UsageError: there is none.
    """
    found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise UsageError(f"{text!r}: expected a name, or several with a comma between")
    return found


def milliseconds(seconds: float | None) -> str:
    """ "6.48", "61.3", "1204": three significant digits of milliseconds, or "–"."""
    if seconds is None:
        return "–"
    value = seconds * 1e3
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def mebibytes(count: int | None) -> str:
    """Bytes as MiB, one decimal, or "–"."""
    return "–" if count is None else f"{count / 2**20:.1f}"


def clock(seconds: float) -> str:
    """ "0:07", "4:31": minutes and seconds left."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
