"""A suite is a file: benchmarks/NAME.toml, or anybody's ./FILE.toml. The command line overrides its fields."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mfedge import resources
from mfedge.bench import cases, quantities
from mfedge.bench.measure.environment import chosen_cpu
from mfedge.bench.results.schema import Protocol
from mfedge.bench.stored import MOST_VISITS
from mfedge.errors import UsageError
from mfedge.families.table import family_of_model
from mfedge.sizes import Size, parse_sizes
from mfedge.workers.process import Limits

TITLE = "Latency over input size"
LIMITS = Limits()  # of a worker, unless the command line says otherwise
Rounds = Annotated[int, Meta(ge=1, le=10_000)]


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured, in the words of the command line."""

    title: str = TITLE
    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("mobile-former-214m", "mobilenet-v3-large")
    reference: str | None = None  # default: the only model of a reference family among several
    runtimes: tuple[str, ...] | None = None
    sizes: str = "224..1024"
    budget: str = "9m"
    within: str = "3%"  # half-width to reach of every interval
    processes: Annotated[int, Meta(ge=1, le=100)] = 3
    min_rounds: Rounds = 4
    max_rounds: Rounds = 60
    refine: bool = False

    def protocol(self, cpu: int | None = None, limits: Limits = LIMITS) -> Protocol:
        """The suite's protocol, everything else as by default.

        Args:
            cpu: to pin to; None takes the last one allowed.
            limits: of every worker.

        Raises:
            UsageError: a quantity that is none, or a CPU that this process may not use.
        """
        if self.max_rounds < self.min_rounds:
            raise UsageError(f"max_rounds: expected at least min_rounds={self.min_rounds}, found {self.max_rounds}")
        if self.processes * self.max_rounds > MOST_VISITS:
            raise UsageError(
                f"processes and max_rounds: expected at most {MOST_VISITS} rounds of a case, "
                f"found {self.processes} times {self.max_rounds}"
            )
        within = quantities.share(self.within)
        if within == 0:
            raise UsageError(f"--within {self.within}: expected more than 0%, as no interval is that narrow")
        return Protocol(
            cpu=chosen_cpu(cpu),
            budget_seconds=quantities.duration(self.budget),
            within=within,
            processes=self.processes,
            min_rounds=self.min_rounds,
            max_rounds=self.max_rounds,
            timeout_seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
        )

    def with_reference(self, asked: bool) -> Suite:
        """The suite with its reference among its models, called as results call it.

        Args:
            asked: whether the reference was asked for together with the models: it is then measured too. One that
                was not, a suite's own beside the models of a command line, is dropped if it is none of them.

        Raises:
            UsageError: it is no variant, and no path.
        """
        if self.reference is None:
            return self
        models, place = self.models, cases.place(self.reference, self.models)
        if place is None:
            if not asked:
                return msgspec.structs.replace(self, reference=None)
            models, place = (*models, self.reference), len(models)
        return override(self, models=models, reference=cases.names(models)[place])

    def parsed_sizes(self) -> list[Size]:
        """Raises UsageError."""
        return parse_sizes(self.sizes)


def read(name: str) -> Suite:
    """The suite of this name, or of a TOML file.

    Raises:
        UsageError: unknown suite or field.
    """
    path = resources.locate("benchmarks", name, f"--suite {name}")
    try:
        return msgspec.convert(resources.read_toml(path), Suite)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: not a suite: {error}") from None


def override(suite: Suite, **options: Any) -> Suite:
    """The suite with every option that was given (is not None)."""
    given = {name: value for name, value in options.items() if value is not None}
    return msgspec.structs.replace(suite, **given)


def choose_reference(wanted: str | None, names: list[str]) -> str | None:
    """The model that ratios are taken to: the one wanted, else the only one of a reference family, else the last.

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
    references = [name for name in names if (family := family_of_model(name)) is not None and family.reference]
    return references[0] if len(references) == 1 else names[-1]
