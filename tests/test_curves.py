"""Numbers in, coordinates out: right on known values, and never off the paper whatever the numbers."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import folders
from ganvas.curves import BINS, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, Chart, chart, groups, number, short

Points = list[tuple[float, float]]


def places(path: str) -> list[list[tuple[float, float]]]:
    """The strokes of an SVG path, each a list of points."""
    assert re.fullmatch(r"(M[-0-9.]+ [-0-9.]+(L[-0-9.]+ [-0-9.]+)*Z?)*", path), path
    strokes = [stroke.rstrip("Z").split("L") for stroke in path.split("M")[1:]]
    return [[(float(x), float(y)) for x, y in map(str.split, stroke)] for stroke in strokes]


def value_at(drawn: Chart, y: float) -> float:
    """The value that a height stands for, read off the axis as a person would: between two ticks."""
    numbers = [(height, float(label.replace("k", "e3").replace("M", "e6"))) for height, label in drawn.values]
    (y0, a), (y1, b) = numbers[0], numbers[-1]
    if drawn.logarithmic:
        return float(10 ** (math.log10(a) + (y - y0) / (y1 - y0) * (math.log10(b) - math.log10(a))))
    return a + (y - y0) / (y1 - y0) * (b - a)


# ---- known values ----------------------------------------------------------------------------------------------------
def test_a_line_passes_through_its_values() -> None:
    points: Points = [(0, 1.0), (50, 3.0), (100, 2.0)]
    drawn = chart("kl", points, [(100, 2.5)], last=100)
    ((start, middle, end),) = places(drawn.line)
    assert [start[0], middle[0], end[0]] == [LEFT, (LEFT + RIGHT) / 2, RIGHT]
    for (_, y), (_, value) in zip((start, middle, end), points, strict=True):
        assert value_at(drawn, y) == pytest.approx(value, abs=0.02)
    assert (drawn.latest, drawn.valid_latest) == (2.0, 2.5)
    assert value_at(drawn, drawn.dots[0][1]) == pytest.approx(2.5, abs=0.02)  # one held-out value is a dot
    assert [point[2:] for point in drawn.points] == [(0, "1"), (50, "3"), (100, "2")]
    assert [label for _, label in drawn.steps] == ["0", "25", "50", "75", "100"]


def test_points_come_in_any_order() -> None:
    points: Points = [(0, 1.0), (50, 3.0), (100, 2.0)]
    assert chart("kl", points[::-1], last=100) == chart("kl", points, last=100)


def test_positive_values_over_many_decades_are_drawn_on_a_log_scale() -> None:
    points: Points = [(step, 10.0 ** (2 - step / 20)) for step in range(0, 101, 10)]
    drawn = chart("loss", points, last=100)
    assert drawn.logarithmic
    assert [label for _, label in drawn.values] == ["0.001", "0.01", "0.1", "1", "10", "100"][::2]
    ((*line,),) = places(drawn.line)
    slopes = {round((b[1] - a[1]) / (b[0] - a[0]), 1) for a, b in pairwise(line)}
    assert len(slopes) == 1  # exponential decay is a straight line
    assert not chart("loss", [(s, -v) for s, v in points], last=100).logarithmic
    assert not chart("loss", [(s, v + 2) for s, v in points], last=100).logarithmic  # from 2 to 102


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    points: Points = [(step, 1 + 0.1 * (step % 2)) for step in range(100)]
    points[60] = (60, 1e9)
    drawn = chart("loss", points, last=100)
    assert not drawn.logarithmic
    heights = [y for stroke in places(drawn.line) for _, y in stroke]
    assert min(heights) < TOP  # it leaves the field at the top
    assert sorted(heights)[-1] - sorted(heights)[1] > 50
    points[60] = (60, 1e-9)  # nor does one nearly nothing make the scale logarithmic
    assert not chart("loss", points, last=100).logarithmic
    assert len(chart("loss", points, last=100).values) >= 3


def test_what_is_not_finite_is_a_gap() -> None:
    nan, inf = math.nan, math.inf
    points: Points = [(0, nan), (10, 1.0), (20, 2.0), (30, inf), (40, 3.0), (50, -inf), (60, 1.0), (70, 1.5), (80, nan)]
    drawn = chart("loss", points, last=80)
    assert [len(stroke) for stroke in places(drawn.line)] == [2, 2]
    assert len(drawn.dots) == 1  # the value that stands alone
    assert drawn.latest == 1.5
    empty = chart("loss", [(0, nan), (1, inf)], [(1, nan)], last=1)
    assert (empty.line, empty.band, empty.valid, empty.dots, empty.points) == ("", "", "", [], [])
    assert (empty.latest, empty.valid_latest) == (None, None)


def test_many_ticks_become_means_within_a_band() -> None:
    points: Points = [(step, float(step % 4)) for step in range(4 * BINS)]
    drawn = chart("loss", points, points, last=4 * BINS)
    ((*line,),) = places(drawn.line)
    assert len(line) == len(drawn.points) == BINS
    assert {text for *_, text in drawn.points} == {"1.5"}
    ((*band,),) = places(drawn.band)
    assert len(band) == 2 * BINS
    upper, lower = {y for _, y in band[:BINS]}, {y for _, y in band[BINS:]}
    assert value_at(drawn, *upper) == pytest.approx(3, abs=0.05)
    assert value_at(drawn, *lower) == pytest.approx(0, abs=0.05)
    assert len(places(drawn.valid)[0]) == BINS
    assert drawn.valid_latest == 3.0  # itself, not a mean


def test_shares_are_drawn_from_nothing_to_all() -> None:
    assert [label for _, label in chart("accuracy", [(0, 0.9), (9, 0.95)], last=9).values] == [
        "0",
        "0.25",
        "0.5",
        "0.75",
        "1",
    ]
    assert chart("accuracy", [(0, 0.0), (9, 1.0)], last=9).dots == []


@pytest.mark.parametrize(
    "values", [(1000.0, 1000.5), (1e6, 1e6 + 300), (0.001, 0.0010004), (-5.0, -4.9995), (7.0, 7.0), (0.0, 0.0)]
)
def test_ticks_of_nearly_constant_values_can_be_told_apart(values: tuple[float, float]) -> None:
    labels = [label for _, label in chart("loss", list(enumerate(values)), last=1).values]
    assert len(set(labels)) == len(labels) >= 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (0.25, "0.25"), (1500.0, "1.5k"), (20_000, "20k"), (3e6, "3M"), (2.5e9, "2.5G"),
     (4e12, "4T"), (-1500.0, "-1.5k"), (1e-5, "1e-5"), (2.5e-7, "2.5e-7"), (0.001, "0.001"), (1e15, "1e15")],
)  # fmt: skip
def test_ticks_are_labelled_in_few_letters(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (math.inf, "–"), (0, "0"), (0.123456, "0.1235"), (-14.2269, "-14.23"),
     (9999.4, "9999"), (12345.6, "12,346"), (1234567.8, "1,234,568"), (1.5e-7, "1.5e-7"), (2e12, "2T")],
)  # fmt: skip
def test_numbers_are_told_to_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text


# ---- anything --------------------------------------------------------------------------------------------------------
anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 1.0, 1 + 2**-52, 1e16, 1e16 + 2, 5e-324, 1e-310, 1e-100, 1e100, 1e308, -1e308, 1e300]),
)
curve = st.one_of(
    st.lists(st.tuples(st.integers(0, 10**9), anything), max_size=40),
    st.tuples(anything, st.integers(1, 300)).map(lambda one: [(i, one[0]) for i in range(one[1])]),
    st.lists(st.floats(1e-9, 1e9), min_size=100, max_size=300).map(lambda values: list(enumerate(values))),
)


@given(curve, curve, st.sampled_from(["kl", "accuracy"]))
@example([(0, 1e308), (1, -1e308)], [], "kl")
@example([(0, 0.0), (1, 5e-324)], [(0, 1.7e308)], "kl")
@settings(deadline=None, max_examples=120)
def test_no_numbers_lead_off_the_paper(trained: Any, valid: Any, name: str) -> None:
    last = max((step for step, _ in trained + valid), default=1)
    drawn = chart(name, trained, valid, last=last)
    lines = [place for path in (drawn.line, drawn.band, drawn.valid) for stroke in places(path) for place in stroke]
    for x, y in [*lines, *drawn.dots, *(point[:2] for point in drawn.points)]:
        assert LEFT <= x <= RIGHT
        assert 0 <= y <= BOTTOM + 0.05 * HEIGHT
    assert all(TOP - 0.1 <= y <= BOTTOM + 0.1 for y, _ in drawn.values)
    assert all(LEFT <= x <= RIGHT for x, _ in drawn.steps)
    assert all(re.fullmatch(r"-?[0-9.]+(e-?[0-9]+|[kMGT])?", label) for _, label in drawn.values + drawn.steps)
    assert len({label for _, label in drawn.values}) == len(drawn.values)
    assert 1 <= len(drawn.values) <= 8
    usable = [value for _, value in trained if math.isfinite(value) and abs(value) <= 1e100]
    assert bool(drawn.line or drawn.points) == bool(usable)
    if len(usable) == len(trained) <= BINS and trained:
        assert len({point[2] for point in drawn.points}) == len({step for step, _ in trained})


# ---- groups ----------------------------------------------------------------------------------------------------------
def test_terms_are_grouped_by_player_with_the_gradient_norm_last() -> None:
    rows = [
        folders.tick(step, critic__gradient_norm=1.0, critic__real=0.5, accuracy=0.9, encoder__kl=2.0,
                     encoder__gradient_norm=3.0, valid__critic__real=0.75, valid__only=1.0)
        for step in (10, 20)
    ]  # fmt: skip
    found = {group.name: [drawn.name for drawn in group.charts] for group in groups(rows)}
    assert found == {
        "critic": ["real", "gradient norm"],
        "encoder": ["kl", "gradient norm"],
        "notes": ["accuracy", "only"],
        "speed": ["images per second"],
    }
    real = groups(rows)[0].charts[0]
    assert (real.latest, real.valid_latest) == (0.5, 0.75)
    (speed,) = groups(rows)[-1].charts
    assert speed.latest == pytest.approx(160)  # 16 images a step, 10 steps a second


def test_a_term_that_is_not_always_there_and_nulls_are_drawn_where_they_are() -> None:
    rows = [
        folders.tick(10, a__x=1.0, a__gradient_norm=None),
        folders.tick(20, a__x=2.0, a__r1=3.0),
        folders.tick(30, a__x=None),
    ]
    (player, _) = groups(rows)
    assert [drawn.name for drawn in player.charts] == ["x", "r1"]  # a norm that was never finite has no chart
    assert [len(drawn.points) for drawn in player.charts] == [2, 1]


def test_metrics_are_drawn_once_they_were_measured_at_two_steps() -> None:
    rows = [{"step": step, "metrics": {"mse": {"value": value}}} for step, value in ((10, 0.5), (10, 0.4))]
    assert groups([], rows) == []
    rows += [
        {"step": 20, "metrics": {"mse": {"value": 0.3}, "psnr": {"value": 9.0}}},
        {"step": 30, "metrics": {"mse": {"value": None}}},
    ]
    (metrics,) = groups([], rows)
    assert metrics.name == "metrics"
    assert [(drawn.name, drawn.latest) for drawn in metrics.charts] == [("mse", 0.3)]


def test_no_ticks_have_no_charts() -> None:
    assert groups([]) == []
    assert groups([folders.tick(10)]) == []
