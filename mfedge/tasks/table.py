"""One row per task: the outputs that its networks have, and when two answers agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from mfedge.arrays import Array
from mfedge.tasks import classify

Outputs = Mapping[str, Array]


class Task(Struct, frozen=True):
    """What mfedge has to know of a task."""

    name: str
    outputs: dict[str, str]  # name → layout, a letter per dimension
    agree: Callable[[Outputs, Outputs], bool]  # (found, expected): whether a user would be told the same
    agreement: str  # what that means, in a sentence


TASKS: dict[str, Task] = {}


def add(task: Task) -> None:
    """Add a row.

    Raises:
        ValueError: there is one of that name.
    """
    if task.name in TASKS:
        raise ValueError(f"task {task.name}: there is one already")
    TASKS[task.name] = task


add(Task("classify", classify.OUTPUTS, classify.agree, "the most probable class is the same"))
