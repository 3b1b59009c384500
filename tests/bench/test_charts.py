"""Charts of any run: everything that was measured is on them, every word is inside them, none lies on another."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

matplotlib = pytest.importorskip("matplotlib")

from mfedge.bench.quantities import milliseconds
from mfedge.bench.report import bars, chart, curves, html
from mfedge.bench.report.labels import fitting, spread
from mfedge.bench.report.palette import DESKTOP, PHONE, Page, drawing
from mfedge.bench.results.schema import CaseResult, Result
from mfedge.bench.results.summary import Summary, summarise
from mfedge.sizes import Size
from tests.bench.made import made_result

PAGES = pytest.mark.parametrize("page", [DESKTOP, PHONE], ids=["desktop", "phone"])


def slower(case: CaseResult, model: str, factor: float) -> CaseResult:
    visits = tuple(replace(v, seconds=tuple(second * factor for second in v.seconds)) for v in case.visits)
    return replace(case, model=model, visits=visits)


def with_models(result: Result, models: dict[str, float]) -> Result:
    """The reference, and the first model under several names, so many times slower."""
    made: list[CaseResult] = []
    for case in result.cases:
        mine = case.model != result.reference
        made += [slower(case, name, factor) for name, factor in models.items()] if mine else [case]
    return replace(result, cases=tuple(made))


def sized(result: Result, sizes: dict[int, Size]) -> Result:
    return replace(result, cases=tuple(replace(case, size=sizes[case.size.height]) for case in result.cases))


MODELS = {
    "twin": 1.0,
    "mobile-former-214m": 1.0,
    "mobile-former-214m-native": 0.6,
    "my-own": 1.3,
    "x" * 200: 2.5,
    "$x^2$": 0.9,
}
RUNS: dict[str, Callable[[], Result]] = {
    "several sizes": lambda: made_result((224, 320, 512, 1024), rounds=6),
    "one size": lambda: made_result((224,), rounds=6),
    "many models": lambda: with_models(made_result((224, 512, 1024), rounds=6), MODELS),
    "many models at one size": lambda: with_models(made_result((224,), rounds=6), MODELS),
    "not square": lambda: sized(
        made_result((224, 320, 512), ("onnxruntime", "openvino"), rounds=6),
        {224: Size(224, 224), 320: Size(240, 426), 512: Size(512, 512)},
    ),
    "not square alone": lambda: sized(made_result((224,), ("litert",), rounds=6), {224: Size(320, 256)}),
    "two of as many pixels": lambda: sized(
        made_result((224, 320), ("litert",), rounds=6), {224: Size(320, 256), 320: Size(256, 320)}
    ),
    "no reference": lambda: replace(
        made_result((224, 512), ("torch",), rounds=6),
        reference=None,
        cases=tuple(case for case in made_result((224, 512), ("torch",), rounds=6).cases if case.model[6] == "-"),
    ),
}
every_run = pytest.mark.parametrize("run", RUNS)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """pyplot keeps what nobody closes."""
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def summaries() -> dict[str, Summary]:
    return {name: summarise(make()) for name, make in RUNS.items()}


def figure_of(summary: Summary, page: Page) -> Any:
    """The figure as it is saved, laid out."""
    kept: list[Any] = []

    def keep(figure: Any) -> dict[str, bytes]:
        figure.canvas.draw()
        kept.append(figure)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chart, "saved", keep)
        chart.draw(summary, page)
    return kept[0]


def words(figure: Any) -> Iterator[Any]:
    """Every text that is drawn; a tick beyond the ends of its axis is not."""
    from matplotlib.text import Text

    ticks = {
        id(label)
        for axes in figure.axes
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim())))
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        if not low <= tick.get_loc() <= high
        for label in (tick.label1, tick.label2)
    }
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in ticks:
            yield text


def overlap(a: Any, b: Any, slack: float = 1.0) -> bool:
    return bool(min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack)


@PAGES
@every_run
def test_every_word_is_inside_the_picture(run: str, page: Page, summaries: dict[str, Summary]) -> None:
    figure = figure_of(summaries[run], page)
    found = list(words(figure))
    assert len(found) > 5
    for text in found:
        extent = text.get_window_extent()
        assert extent.x0 > -2 and extent.y0 > -2, text
        assert extent.x1 < figure.bbox.width + 2 and extent.y1 < figure.bbox.height + 2, text


@PAGES
@every_run
def test_no_word_lies_on_another(run: str, page: Page, summaries: dict[str, Summary]) -> None:
    texts = [text for text in words(figure_of(summaries[run], page)) if "paper" not in text.get_text()]
    for a, b in itertools.combinations(texts, 2):
        assert not overlap(a.get_window_extent(), b.get_window_extent()), (a, b)


@PAGES
@every_run
def test_a_legend_lies_on_no_axes(run: str, page: Page, summaries: dict[str, Summary]) -> None:
    figure = figure_of(summaries[run], page)
    assert not any(axes.get_legend() for axes in figure.axes)
    for legend, axes in itertools.product(figure.legends, figure.axes):
        assert not overlap(legend.get_window_extent(), axes.get_window_extent())


@PAGES
@pytest.mark.parametrize("run", [name for name in RUNS if "one size" in name or "alone" in name or "pixels" in name])
def test_one_size_has_its_numbers(run: str, page: Page, summaries: dict[str, Summary]) -> None:
    said = " ".join(text.get_text() for text in words(figure_of(summaries[run], page)))
    for row in summaries[run].rows:
        assert f"{milliseconds(row.median)} ms" in said
        assert row.ratio is None or f"{row.ratio:.2f}×" in said
    assert all(str(size) in said for size in summaries[run].sizes)


@PAGES
def test_a_size_that_is_not_square_is_named_and_drawn(page: Page, summaries: dict[str, Summary]) -> None:
    figure = figure_of(summaries["not square"], page)
    said = [text.get_text() for text in words(figure)]
    assert "240x426" in said and any("square of as many pixels" in text for text in said)
    drawn = [len(line.get_xdata()) for line in figure.axes[0].get_lines()]
    assert drawn == [3, 3, 3, 3], "every size of every line"


def test_a_model_s_name_is_no_formula(summaries: dict[str, Summary]) -> None:
    said = [text for text in words(figure_of(summaries["many models"], DESKTOP)) if "$x^2$" in text.get_text()]
    assert said and not any(text.get_parse_math() for text in said)


def test_labels_at_the_ends_stand_near_their_lines(summaries: dict[str, Summary]) -> None:
    """No farther than the labels between them need: here each has room for its own place but for neighbours."""
    axes = figure_of(summaries["several sizes"], DESKTOP).axes[1]
    ends = {line.get_color(): line.get_xydata()[-1] for line in axes.get_lines() if len(line.get_xdata()) == 4}
    labels = [text for text in axes.texts if text.get_color() in ends and " px" not in text.get_text()]
    assert len(labels) == len(ends) == 4
    for label in labels:
        place = axes.transData.transform(ends[label.get_color()])
        extent = label.get_window_extent()
        inches = abs((extent.y0 + extent.y1) / 2 - place[1]) / axes.figure.dpi
        assert inches < curves.LABEL


def test_of_too_many_lines_the_chart_says_how_many_it_has(summaries: dict[str, Summary]) -> None:
    for sides, drawer in (((224, 512), curves), ((224,), bars)):
        many = summarise(with_models(made_result(sides, ("litert",), rounds=3), {f"m{i}": 1.0 for i in range(60)}))
        said = chart.draw(many)["svg"].decode()
        assert "48 of 61 pairs of a model and a runtime are drawn" in said
        with drawing():
            _, axes = drawer.draw(many, DESKTOP)
            assert max(len(axes.get_lines()), len(axes.patches)) == 48


def test_places_are_apart_in_order_and_as_near_as_can_be() -> None:
    """Held against the plain way: of many places that are allowed, none is nearer."""
    g = random.Random(0)
    for _ in range(200):
        wanted = [g.uniform(-1, 11) for _ in range(g.randint(1, 9))]
        gap, low, high = g.uniform(0.1, 1.1), 0.0, 10.0
        places = spread(wanted, gap, low, high)
        order = sorted(range(len(wanted)), key=lambda i: wanted[i])
        assert all(places[b] - places[a] >= gap - 1e-9 for a, b in itertools.pairwise(order))
        assert all(low - 1e-9 <= place <= high + 1e-9 for place in places)
        cost = sum((place - want) ** 2 for place, want in zip(places, wanted, strict=True))
        for _ in range(50):  # an allowed arrangement: sorted points of what is left of the axis, pushed apart
            rest = sorted(g.uniform(low, high - gap * (len(wanted) - 1)) for _ in wanted)
            near = [start + rank * gap for rank, start in enumerate(rest)]
            mixed = [0.99 * places[i] + 0.01 * near[rank] for rank, i in enumerate(order)]
            for other in (near, mixed):
                theirs = sum((place - wanted[i]) ** 2 for place, i in zip(other, order, strict=True))
                assert theirs >= cost - 1e-9


def test_more_labels_than_an_axis_has_room_for_keep_their_order() -> None:
    places = spread([1.0, 1.0, 0.5], 10.0, 0.0, 2.0)
    assert places[2] < min(places[:2]) and len(set(places)) == 3


def test_ticks_that_touch_are_left_out_and_the_first_stay() -> None:
    g = random.Random(1)
    for _ in range(200):
        places = sorted(g.uniform(0, 10) for _ in range(g.randint(2, 40)))
        widths = [g.uniform(0.1, 2) for _ in places]
        first = [g.randrange(len(places))]
        kept = fitting(places, widths, first)
        assert first[0] in kept and kept == sorted(kept)
        assert all(places[b] - places[a] >= (widths[a] + widths[b]) / 2 for a, b in itertools.pairwise(kept))
        for i in set(range(len(places))) - set(kept):
            assert any(abs(places[i] - places[j]) < (widths[i] + widths[j]) / 2 for j in kept), "there was room"


def test_a_page_has_a_chart_for_both_widths_and_shows_one(summaries: dict[str, Summary]) -> None:
    result = RUNS["not square"]()
    page = html.page(result, summaries["not square"])
    assert page.count("<div class=desktop><svg") == page.count("<div class=phone><svg") == 1
    assert "figure .phone { display: none; }" in page
    narrow = page.partition("@media")[2].partition("</style>")[0]
    assert "figure .phone { display: block; }" in narrow and "figure .desktop { display: none; }" in narrow
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers)) > 100
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', page))
    assert used <= set(identifiers), "every reference is to its own chart"
    widths = [float(width) for width in re.findall(r'<svg[^>]* width="([\d.]+)pt"', page)]
    assert widths == pytest.approx([DESKTOP.width * 72, PHONE.width * 72])


def test_a_chart_is_the_same_every_time(summaries: dict[str, Summary]) -> None:
    """The two widths differ, and a second drawing is the same bytes."""
    summary = summaries["one size"]
    assert chart.draw(summary, PHONE) == chart.draw(summary, PHONE) != chart.draw(summary, DESKTOP)
