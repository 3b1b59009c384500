"""The self-contained HTML report: charts inline, every table, the environment, profiles; no script, no network."""

from __future__ import annotations

from html import escape

from mfedge.bench.report import tables
from mfedge.bench.results.schema import Result
from mfedge.bench.results.summary import Summary

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.quiet, td.quiet { color: #666; } figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { background: #f6f6f6; position: sticky; top: 0; } td.text, th.text { text-align: left; white-space: normal; }
.warning { background: #fff4e5; border-left: 4px solid #d55e00; padding: .5rem .9rem; margin: .5rem 0; }
ul { padding-left: 1.2rem; }
""".strip()
TEXT = {"runtime", "model", "status", "message", "operator", "part", "type", "field", "value", "note"}


def page(result: Result, summary: Summary, charts: list[str], sections: list[str] | None = None) -> str:
    """One HTML document.

    Args:
        charts: SVG documents.
        sections: more of the body, already HTML: profiles.
    """
    body = [f"<h1>{escape(summary.title)}</h1>"]
    body.append(
        f"<p class=quiet>{escape(result.started)} · {escape(result.environment.cpu)} · one thread, batch 1 · "
        f"mfedge {escape(result.environment.mfedge)} · measured for {summary.seconds:.0f} s</p>"
    )
    body += [f"<p class=warning>{escape(line)}</p>" for line in summary.warnings]
    body.append(_list(tables.statements(summary)))
    body += [f"<figure>{inline(chart)}</figure>" for chart in charts]
    body += ["<h2>Every case</h2>", table(tables.COLUMNS, [tables.cells(row) for row in summary.rows])]
    body += ["<h2>Is it a fair comparison?</h2>", _list([f"{_mark(c.fair)} {c.text}" for c in summary.fairness])]
    body += sections or []
    body += ["<h2>Environment</h2>", table(("field", "value"), _environment(result))]
    body += ["<h2>Files</h2>", table(("model", "runtime", "file", "bytes", "sha256"), _files(result))]
    body.append(f"<p class=quiet>{escape(summary.ended)}.</p>")
    content = "\n".join(part for part in body if part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(summary.title)}</title>\n"
        f"<style>\n{STYLE}\n</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def inline(svg: str) -> str:
    """An SVG document as an element of the page."""
    return svg[svg.index("<svg") :].strip()


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns whose name is in TEXT are set left, numbers right."""
    kinds = [" class=text" if name in TEXT else "" for name in header]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, header, strict=True))
    lines = ["".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows]
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
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in lines) + "\n</ul>" if lines else ""


def _mark(fair: bool | None) -> str:
    return {True: "✓", False: "✗", None: "?"}[fair]
