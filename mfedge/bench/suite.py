"""A suite is a file: benchmarks/NAME.toml, or anybody's ./FILE.toml. The command line overrides its fields."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mfedge.bench import quantities
from mfedge.bench.measure.environment import affinity, default_cpu
from mfedge.bench.results.schema import Protocol
from mfedge.errors import UsageError
from mfedge.resources import folder
from mfedge.sizes import Size, parse_sizes

Rounds = Annotated[int, Meta(ge=1, le=10_000)]


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured, in the words of the command line."""

    title: str = "Latency over input size"
    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("mobile-former-214m", "mobilenet-v3-large")
    reference: str | None = None  # default: the first MobileNet among several models
    runtimes: tuple[str, ...] | None = None
    sizes: str = "224..1024"
    budget: str = "9m"
    precision: str = "3%"
    processes: Annotated[int, Meta(ge=1, le=100)] = 3
    min_rounds: Rounds = 4
    max_rounds: Rounds = 60
    refine: bool = False

    def protocol(self, cpu: int | None = None) -> Protocol:
        """The suite's protocol, everything else as by default.

        Args:
            cpu: to pin to; None takes the last one allowed.

        Raises:
            UsageError: a quantity that is none, or a CPU this process may not use.
        """
        if cpu is not None and cpu not in affinity():
            raise UsageError(f"--cpu {cpu}: expected one of {', '.join(map(str, sorted(affinity())))}")
        if self.max_rounds < self.min_rounds:
            raise UsageError(f"max_rounds: expected at least min_rounds={self.min_rounds}, found {self.max_rounds}")
        return Protocol(
            cpu=default_cpu() if cpu is None else cpu,
            budget_seconds=quantities.duration(self.budget),
            precision=quantities.share(self.precision),
            processes=self.processes,
            min_rounds=self.min_rounds,
            max_rounds=self.max_rounds,
        )

    def parsed_sizes(self) -> list[Size]:
        """Raises UsageError."""
        return parse_sizes(self.sizes)


def read(name: str) -> Suite:
    """The suite of this name, or of a TOML file.

    Raises:
        UsageError: unknown suite or field.
    """
    path = Path(name) if "/" in name or name.endswith(".toml") else folder("benchmarks") / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder("benchmarks").glob("*.toml")))
        raise UsageError(f"--suite {name}: unknown; expected one of {known}, or ./FILE.toml")
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Suite)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: not a suite: {error}") from None


def override(suite: Suite, **options: Any) -> Suite:
    """The suite with every option that was given (is not None)."""
    given = {name: value for name, value in options.items() if value is not None}
    return msgspec.structs.replace(suite, **given)


def choose_reference(wanted: str | None, names: list[str]) -> str | None:
    """The model that ratios are taken to: the one wanted, else the only MobileNet, else the last of several.

    Raises:
        UsageError: the one wanted is not measured.
    """
    if wanted is not None:
        if wanted in names:
            return wanted
        if len(names) < 2:
            return None
        raise UsageError(f"--reference {wanted}: expected one of {', '.join(names)}")
    if len(names) < 2:
        return None
    mobilenets = [name for name in names if "mobilenet" in name.lower()]
    return mobilenets[0] if len(mobilenets) == 1 else names[-1]
