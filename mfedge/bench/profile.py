"""Where the time goes: a profile of one model in one runtime, stored and read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mfedge.bench.profile_schema import SCHEMA, Profile
from mfedge.errors import UsageError


def read(path: Path) -> Profile:
    """A stored profile.

    Raises:
        UsageError: no such file, or not of this schema.
    """
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a profile ({SCHEMA}): {error}") from None
    if profile.schema != SCHEMA:
        raise UsageError(f"{path}: expected schema {SCHEMA}, found {profile.schema}; profile again with this version")
    return profile
