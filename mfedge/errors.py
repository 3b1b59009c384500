"""Every way mfedge refuses, and the exit code the command line answers with.

A message is one line: what was expected, what was found, what to do next.
"""

from __future__ import annotations

from enum import IntEnum

from mfedge import text


class Exit(IntEnum):
    """Every exit code with its meaning. The codes are an interface: help and README print this table."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    REGRESSION = 1, "a gate found a regression, or a case of a measurement failed"
    USAGE = 2, "usage: an unknown name, a field out of range, a wrong option"
    INCONCLUSIVE = 3, "a gate could not tell"
    ENVIRONMENT = 4, "a runtime is missing, or two environments differ"
    PARITY = 5, "parity: a file does not compute what PyTorch computes"
    ARTIFACT = 6, "an artifact or model file is damaged, or is none"
    UNSUPPORTED = 7, "an operator that the format's lowering does not know"
    CHECKPOINT = 8, "a checkpoint is unsafe, unreadable or does not fit"
    INPUT = 9, "an image or other input file cannot be read"
    STORAGE = 10, "no room: the disk or memory is full, a place cannot be written, too few files may be open"
    FAULT = 70, "a fault of mfedge's own; --debug shows where"
    HUNG_UP = 129, "the terminal was closed (SIGHUP)"
    INTERRUPTED = 130, "interrupted (SIGINT), or nobody reads the output"
    TERMINATED = 143, "terminated (SIGTERM)"

    @classmethod
    def of(cls, code: int) -> Exit:
        """The member of this code."""
        return next(member for member in cls if member == code)


class MfedgeError(Exception):
    """Base of everything a user can cause."""

    exit_code: Exit = Exit.REGRESSION

    def __init__(self, message: str, about: str = "") -> None:
        """
        Args:
            message: what the user reads. It often quotes a file that somebody else wrote, so it is made one printable
                line here, for the terminal as for every report and file that it is written to.
            about: what the command line has advice for: "kernels", which can be done without.
        """
        super().__init__(text.line(message))
        self.about = about


class UsageError(MfedgeError):
    """The command line, a spec, a target or an argument is not what it has to be."""

    exit_code = Exit.USAGE


class MissingRuntimeError(MfedgeError):
    """A runtime or library that the command needs is missing or of another version."""

    exit_code = Exit.ENVIRONMENT


class EnvironmentMismatchError(MfedgeError):
    """Two results were not measured in the same environment."""

    exit_code = Exit.ENVIRONMENT


class ParityError(MfedgeError):
    """An exported file does not compute what the reference network computes."""

    exit_code = Exit.PARITY


class ArtifactError(MfedgeError):
    """An artifact folder or a model file is damaged, incomplete or not one at all."""

    exit_code = Exit.ARTIFACT


class UnsupportedError(MfedgeError):
    """A lowering does not know an operator of the traced network."""

    exit_code = Exit.UNSUPPORTED


class UnknownOperatorError(UnsupportedError):
    """As UnsupportedError, from within one format: the traced operator, so that the others can be asked."""

    def __init__(self, target: object, message: str) -> None:
        super().__init__(message)
        self.target = target


class CheckpointError(MfedgeError):
    """A weights file is refused: unsafe, unreadable, or it does not fit the network."""

    exit_code = Exit.CHECKPOINT


class InputError(MfedgeError):
    """An image or other input file cannot be read."""

    exit_code = Exit.INPUT


class StorageError(MfedgeError):
    """The disk is full, or a destination cannot be written."""

    exit_code = Exit.STORAGE


class FaultError(MfedgeError):
    """Not the user's: something in mfedge did what it never should. The message is what a report of it needs."""

    exit_code = Exit.FAULT

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)  # as it is, a traceback of many lines
        self.about = ""


class GateError(MfedgeError):
    """A gate ends before a judgement, with the exit code that says why."""

    def __init__(self, exit_code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
