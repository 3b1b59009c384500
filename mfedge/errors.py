"""Every way mfedge refuses, and the exit code the command line answers with.

A message is one line: what was expected, what was found, what to do next.
"""

from __future__ import annotations


class MfedgeError(Exception):
    """Base of everything a user can cause. `exit_code` is part of the interface (README, "Exit codes")."""

    exit_code = 1


class UsageError(MfedgeError):
    """The command line, a spec, a target or an argument is not what it has to be."""

    exit_code = 2


class MissingRuntimeError(MfedgeError):
    """A runtime or library that the command needs is missing or of another version."""

    exit_code = 4


class ParityError(MfedgeError):
    """An exported file does not compute what the reference network computes."""

    exit_code = 5


class ArtifactError(MfedgeError):
    """An artifact folder is damaged, incomplete or not an artifact at all."""

    exit_code = 6


class UnsupportedError(MfedgeError):
    """A lowering does not know an operator of the traced network."""

    exit_code = 7


class CheckpointError(MfedgeError):
    """A weights file is refused: unsafe, unreadable, or it does not fit the network."""

    exit_code = 8


class InputError(MfedgeError):
    """An image or other input file cannot be read."""

    exit_code = 9


class StorageError(MfedgeError):
    """The disk is full, or a destination cannot be written."""

    exit_code = 10
