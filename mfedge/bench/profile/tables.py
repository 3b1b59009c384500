"""A profile as tables for the terminal and the HTML report."""

from __future__ import annotations

from mfedge import text
from mfedge.bench.profile.schema import Peak, Profile, Share, shares
from mfedge.bench.quantities import milliseconds
from mfedge.bench.report import html
from mfedge.runtimes.table import label

COLUMNS = ("part", "operators", "ms", "share", "M MAdds", "MB", "of peak", "of bandwidth")
TOP = 25  # operators in a table


def cells(share: Share, total: float, machine: Peak) -> tuple[str, ...]:
    """One line, in the order of COLUMNS."""
    return (
        share.name, str(share.operators), milliseconds(share.seconds),
        _percent(share.seconds / total if share.seconds else None), f"{share.madds / 1e6:.1f}",
        f"{share.bytes / 1e6:.1f}", _percent(share.of_peak(machine)),
        _percent(share.of_bandwidth(machine)),
    )  # fmt: skip


def rows(profile: Profile, by: str) -> list[tuple[str, ...]]:
    """By "part" or "type"."""
    found = shares(profile, "part" if by == "part" else "type")
    total = sum(share.seconds or 0.0 for share in found) or 1.0
    return [cells(share, total, profile.machine) for share in found]


def headline(profile: Profile) -> str:
    """The whole network in one line."""
    madds = profile.madds
    reached = madds / profile.seconds / profile.machine.madds_per_second if profile.seconds else 0.0
    return (
        f"{profile.model} in {label(profile.runtime)} {profile.version} at {profile.size}: "
        f"{milliseconds(profile.seconds)} ms, {madds / 1e6:.0f}M MAdds, {reached:.0%} of the "
        f"{profile.machine.madds_per_second / 1e9:.0f} GMAdds/s this core reaches"
    )


def remarks(profile: Profile) -> list[str]:
    """How the numbers came about."""
    lines = [profile.source]
    if profile.profiled_seconds is not None and profile.seconds:
        extra = profile.profiled_seconds / profile.seconds - 1
        lines.append(f"With the profiler on, an inference took {extra:+.0%}; shares hold better than milliseconds.")
    lines.append(
        f"Measured on this core: {profile.machine.madds_per_second / 1e9:.1f} G float32 multiply-adds/s, "
        f"{profile.machine.bytes_per_second / 1e9:.1f} GB/s of memory."
    )
    return lines


def slowest(profile: Profile) -> list[tuple[str, ...]]:
    """The operators that cost most: operator, type, part, ms, M MAdds."""
    order = sorted(profile.operators, key=lambda o: (-(o.seconds or 0.0), -(o.madds or 0)))[:TOP]
    return [
        (o.name, o.type, o.part, milliseconds(o.seconds), "–" if o.madds is None else f"{o.madds / 1e6:.2f}")
        for o in order
    ]


def section(profile: Profile) -> str:
    """For the HTML report."""
    from mfedge.bench.profile.roofline import draw

    parts = [f"<h2>{text.html(headline(profile))}</h2>"]
    parts += [f"<p class=quiet>{text.html(line)}</p>" for line in remarks(profile)]
    if profile.timed:
        parts.append(html.figure("The roofline of this profile; the tables below have its figures", draw, profile))
    parts.append(html.table(COLUMNS, rows(profile, "part")))
    parts.append(html.table(("type", *COLUMNS[1:]), rows(profile, "type")))
    parts.append(html.table(("operator", "type", "part", "ms", "M MAdds"), slowest(profile)))
    return "\n".join(parts)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
