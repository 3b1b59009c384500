"""The self-contained HTML report: charts inline, every table, the environment, profiles; no script, no network."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from mfedge import text
from mfedge.bench.report import chart, tables
from mfedge.bench.report.palette import DESKTOP, PHONE, Page
from mfedge.bench.results.schema import Result
from mfedge.bench.results.summary import Summary

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.quiet, td.quiet { color: #666; } figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
figure .phone { display: none; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { background: #f6f6f6; position: sticky; top: 0; } td.text, th.text { text-align: left; white-space: normal; }
.warning { background: #fff4e5; border-left: 4px solid #d55e00; padding: .5rem .9rem; margin: .5rem 0; }
ul { padding-left: 1.2rem; }
p, li, h1, h2 { overflow-wrap: anywhere; } td.text { overflow-wrap: break-word; max-width: 24rem; }
@media (max-width: 44rem) {
  figure .phone { display: block; } figure .desktop { display: none; }
  table, tbody { display: block; } thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .35rem 0; border-bottom: 1px solid #e4e4e4; }
  td, td.text { border: 0; padding: 0; text-align: left; white-space: normal; overflow-wrap: anywhere; }
  td:first-child { font-weight: bold; }
  td::before { content: attr(data-name) " "; color: #666; font-weight: normal; }
  td:empty { display: none; }
}
""".strip()
TEXT = {"runtime", "model", "status", "message", "operator", "part", "type", "field", "value", "note"}


Drawn = TypeVar("Drawn")


def page(result: Result, summary: Summary, sections: list[str] | None = None) -> str:
    """One HTML document. On a phone each row of a table is a paragraph, and the charts are drawn anew for its width.

    Args:
        sections: more of the body, already HTML: profiles.

    Raises:
        MissingRuntimeError: the charts cannot be drawn.
    """
    body = [f"<h1>{text.html(summary.title)}</h1>"]
    body.append(
        f"<p class=quiet>{text.html(result.started)} · {text.html(result.environment.cpu)} · one thread, batch 1 · "
        f"mfedge {text.html(result.environment.mfedge)} · measured for {summary.seconds:.0f} s</p>"
    )
    body += [f"<p class=warning>{text.html(line)}</p>" for line in summary.warnings]
    body.append(_list(tables.statements(summary)))
    body.append(figure("Latency over input size; the table below has its figures", chart.draw, summary))
    body += ["<h2>Every case</h2>", table(tables.COLUMNS, [tables.cells(row) for row in summary.rows])]
    body += ["<h2>Is it a fair comparison?</h2>", _list([f"{tables.mark(c.fair)} {c.text}" for c in summary.fairness])]
    body += sections or []
    body += ["<h2>Environment</h2>", table(("field", "value"), _environment(result))]
    body += ["<h2>Files</h2>", table(("model", "runtime", "file", "bytes", "sha256"), _files(result))]
    body.append(f"<p class=quiet>{text.html(summary.ended)}.</p>")
    content = "\n".join(part for part in body if part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text.html(summary.title)}</title>\n"
        f"<style>\n{STYLE}\n</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def figure(label: str, draw: Callable[[Drawn, Page], dict[str, bytes]], data: Drawn) -> str:
    """A chart drawn for both widths, of which the page shows the one that fits.

    Args:
        label: what it shows, for those who do not see it.
    """
    drawn = []
    for name, width in (("desktop", DESKTOP), ("phone", PHONE)):
        svg = draw(data, width)["svg"].decode()
        # Both are in one document, where an identifier may be given once.
        svg = re.sub(r'((?:\bid=|href=)"#?|url\(#)', rf"\1{name}-", svg[svg.index("<svg") :].strip())
        drawn.append(f"<div class={name}>{svg}</div>")
    return f'<figure role=img aria-label="{text.html(label)}">{"".join(drawn)}</figure>'


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns whose name is in TEXT are set left, numbers right."""
    kinds = [" class=text" if name in TEXT else "" for name in header]
    head = "".join(f"<th{kind}>{text.html(name)}</th>" for kind, name in zip(kinds, header, strict=True))
    lines = [
        "".join(
            f'<td{kind} data-name="{text.html(name)}">{text.html(cell)}</td>'
            for kind, name, cell in zip(kinds, header, row, strict=True)
        )
        for row in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=scroll><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"


def _environment(result: Result) -> list[tuple[str, ...]]:
    machine, protocol = result.environment, result.protocol
    load = (result.before.load1, result.after.load1)
    probe = tuple(f"{moment.probe_seconds * 1e3:.2f}" for moment in (result.before, result.after))
    return [
        ("CPU", f"{machine.cpu}, {machine.cpus} CPUs{', virtual machine' if machine.hypervisor else ''}"),
        ("instruction sets", " ".join(machine.isa)),
        ("governor", machine.governor or "not exposed"),
        (
            "clock before and after",
            f"{result.before.clock_mhz} and {result.after.clock_mhz} MHz as the kernel reports it",
        ),
        ("fixed work before and after", f"{probe[0]} and {probe[1]} ms"),
        ("load before and after", f"{load[0]} and {load[1]}"),
        ("measured on CPU", f"{machine.measured_cpu} of {', '.join(map(str, machine.affinity))}"),
        (
            "container limits",
            f"CPUs {machine.cgroup_cpus or 'unlimited'}, memory {machine.cgroup_memory_bytes or 'unlimited'}",
        ),
        ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB"),
        ("system", f"{machine.system} {machine.kernel} {machine.machine}"),
        ("Python", machine.python),
        *sorted(machine.libraries.items()),
        ("threads", str(protocol.threads)),
        ("processes of each case", str(protocol.processes)),
        ("interval", f"{protocol.level:.0%}, to reach ±{protocol.within:.1%}"),
    ]


def _files(result: Result) -> list[tuple[str, ...]]:
    rows = {(c.model, c.runtime, c.file, str(c.bytes), c.sha256[:16]): None for c in result.cases}
    return list(rows)


def _list(lines: list[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{text.html(line)}</li>" for line in lines) + "\n</ul>" if lines else ""
