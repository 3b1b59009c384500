"""Bytes damaged without regard to what they mean."""

from __future__ import annotations

import random

WORDS = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\0\0\0",
    b"\0\0\x01\0",
    b"\x80" * 9,
)


def changed(data: bytes, generator: random.Random, most: int = 4) -> bytes:
    """A copy with one to `most` changes: flips, cuts, insertions, repetitions, zeros."""
    made = bytearray(data)
    for _ in range(generator.randint(1, most)):
        _change(made, generator)
    return bytes(made)


def _change(made: bytearray, generator: random.Random) -> None:
    size = len(made)
    at = generator.randint(0, size)
    length = min(generator.choice((1, 2, 4, 8, 16, 64, 1024, size // 2)), size - at)
    choice = generator.randrange(10)
    if choice < 3 and at < size:
        made[at] ^= 1 << generator.randrange(8)
    elif choice == 3 and at < size:
        made[at] = generator.randrange(256)
    elif choice == 4:
        word = generator.choice(WORDS)
        made[at : at + len(word)] = word
    elif choice == 5:
        del made[at : at + length]
    elif choice == 6:
        made[at:at] = generator.randbytes(length)
    elif choice == 7:
        made[at : at + length] = bytes(length)
    elif choice == 8:
        other = generator.randint(0, max(0, size - length))
        made[at:at] = made[other : other + length]
    else:
        del made[at:]
