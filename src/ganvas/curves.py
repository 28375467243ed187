"""Curves as small vector drawings: numbers in, coordinates out. What draws them gives the colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Point = tuple[float, float]  # (step, value)

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 314, 8, 126  # of the field in which curves lie
BINS = 120  # points a curve is drawn with at most
WIDE = 100  # ratio of large to small values from which a positive curve is drawn on a log scale
HUGE = 1e100  # what is larger has left the numbers that training lives through; what is smaller than 1 / HUGE is 0


@dataclass(frozen=True)
class Chart:
    """One named value over the steps, and the same value on held-out rows if there is one."""

    name: str
    latest: float | None
    valid_latest: float | None
    line: str  # SVG path: the mean of each bin
    band: str  # SVG path: from the least to the largest value of each bin
    valid: str  # SVG path
    dots: list[tuple[float, float]]  # points that stand alone, which no path shows
    values: list[tuple[float, str]]  # y and label of the value axis's ticks
    steps: list[tuple[float, str]]  # x and label of the step axis's ticks
    logarithmic: bool
    points: list[tuple[float, float, int, str]]  # x, y, step and value of each bin, for whoever points at them


@dataclass(frozen=True)
class Group:
    """The charts of one player, or of what belongs to none."""

    name: str
    charts: list[Chart]


def groups(rows: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]] = ()) -> list[Group]:
    """The ticks of a run as charts: a group a player (terms, then gradient norm), then notes, metrics and speed.

    rows: ticks, oldest first, as `Run.stats` gives them. evaluations: as `Run.metrics` gives them; a metric is drawn
    when it was measured at two steps or more.
    """
    series: dict[str, list[Point]] = {}
    for row in rows:
        for name, value in row["terms"].items():
            series.setdefault(name, []).append((row["step"], _number(value)))
    trained = {name: points for name, points in series.items() if not name.startswith("valid/")}
    players = [name.removesuffix("/gradient_norm") for name in trained if name.endswith("/gradient_norm")]
    drawn: dict[str, dict[str, tuple[list[Point], list[Point]]]] = {player: {} for player in players}
    drawn |= {"notes": {}, "metrics": {}, "speed": {}}
    for name in [*trained, *(n.removeprefix("valid/") for n in series if n.startswith("valid/"))]:
        owner, _, term = name.rpartition("/")
        group, label = (owner, term.replace("_", " ")) if owner in drawn else ("notes", name.replace("_", " "))
        drawn[group][label] = trained.get(name, []), series.get(f"valid/{name}", [])
    for player in players:
        drawn[player]["gradient norm"] = drawn[player].pop("gradient norm")  # after what it is the gradient of
    measured: dict[str, list[Point]] = {}
    for row in evaluations:
        for name, figure in row["metrics"].items():
            measured.setdefault(name, []).append((row["step"], _number(figure.get("value"))))
    drawn["metrics"] = {name: (points, []) for name, points in measured.items() if len({s for s, _ in points}) > 1}
    drawn["speed"] = {"images per second": (_speed(rows), [])}
    last = max((step for points in [*series.values(), *measured.values()] for step, _ in points), default=1)
    made = {group: [chart(n, a, b, last=last) for n, (a, b) in terms.items()] for group, terms in drawn.items()}
    shown = {group: [c for c in charts if c.line or c.valid or c.dots] for group, charts in made.items()}
    return [Group(name, charts) for name, charts in shown.items() if charts]


def chart(name: str, trained: Sequence[Point], valid: Sequence[Point] = (), *, last: float) -> Chart:
    """The chart of a value over steps 0 to ``last``. Values that are not finite are gaps."""
    trained, valid = _drawable(trained), _drawable(valid)
    bins = _bins(trained)
    held_out = [(step, mean) for step, mean, _, _ in _bins(valid) if math.isfinite(mean)]
    finite = [mean for _, mean, _, _ in bins if math.isfinite(mean)] + [value for _, value in held_out]
    small, large = _usual(finite)
    logarithmic = bool(finite) and min(finite) > 0 and large / small > WIDE
    spread = finite + [value for _, _, *ends in bins for value in ends if math.isfinite(value)]
    if logarithmic:
        spread = [math.log10(value) for value in spread if value > 0]
    low, high = _range(spread, share="accuracy" in name)

    def x(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / max(last, 1), 1)

    def y(value: float) -> float:
        place = (math.log10(max(value, 1e-300)) if logarithmic else value) - low
        return round(BOTTOM - (BOTTOM - TOP) * min(max(place / (high - low), -0.04), 1.04), 1)

    strokes = _strokes([(x(step), y(mean)) if math.isfinite(mean) else None for step, mean, _, _ in bins])
    bands = _strokes(
        [(x(step), y(most), y(least)) if math.isfinite(mean) else None for step, mean, least, most in bins]
    )
    held = [(x(step), y(value)) for step, value in held_out]
    ticks = _log_ticks(low, high) if logarithmic else _ticks(low, high)
    digits = next((n for n in (4, 5) if len({short(tick, n) for tick in ticks}) == len(ticks)), 6)
    return Chart(
        name=name,
        latest=_latest(trained),
        valid_latest=_latest(valid),
        line="".join(_path(stroke) for stroke in strokes if len(stroke) > 1),
        band="".join(
            _path([(a, b) for a, b, _ in stroke] + [(a, c) for a, _, c in reversed(stroke)]) + "Z"
            for stroke in bands
            if len(stroke) > 1 and any(b != c for _, b, c in stroke)
        ),
        valid=_path(held) if len(held) > 1 else "",
        dots=[stroke[0] for stroke in strokes if len(stroke) == 1] + (held if len(held) == 1 else []),
        values=[(y(tick), short(tick, digits)) for tick in ticks],
        steps=[(x(tick), short(tick)) for tick in _ticks(0, max(last, 1), whole=True)],
        logarithmic=logarithmic,
        points=[(x(s), y(mean), round(s), number(mean)) for s, mean, _, _ in bins if math.isfinite(mean)],
    )


def short(value: float, digits: int = 4) -> str:
    """A tick's label, in few letters: 0.25, 1.5k, 20k, 3M, 1e-5."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.{digits - 2}e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{value / unit:.{digits}g}{letter}"
    return f"{value:.{digits}g}" if value else "0"


def number(value: float | None) -> str:
    """A measured number to four digits, thousands apart; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e4:
        return f"{value:.4g}"
    if 1e4 <= size < 1e9:
        return f"{value:,.0f}"
    return short(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _speed(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Images per second between each tick and the one before."""
    found = []
    for before, row in pairwise(rows):
        images = _number(row.get("images")) - _number(before.get("images"))
        seconds = _number(row.get("seconds")) - _number(before.get("seconds"))
        if images > 0 and seconds > 0:
            found.append((float(row["step"]), images / seconds))
    return found


def _drawable(points: Sequence[Point]) -> list[Point]:
    """The points by step; NaN for values that no axis can hold."""

    def fitted(value: float) -> float:
        return value if 1 / HUGE <= abs(value) <= HUGE else 0.0 if abs(value) < 1 else math.nan

    return sorted((step, fitted(value)) for step, value in points)


def _latest(points: Sequence[Point]) -> float | None:
    return next((value for _, value in reversed(points) if math.isfinite(value)), None)


def _bins(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    """At most BINS of (last step, mean, least, most); a bin without a finite value has NaN."""
    size = max(1, math.ceil(len(points) / BINS))
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        values = [value for _, value in part if math.isfinite(value)] or [math.nan]
        found.append((part[-1][0], sum(values) / len(values), min(values), max(values)))
    return found


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest value, but for one in fifty at either end where there are many."""
    ordered, wild = sorted(values), len(values) // 50
    return (ordered[wild], ordered[-1 - wild]) if ordered else (0.0, 0.0)


def _range(values: Sequence[float], *, share: bool) -> tuple[float, float]:
    """From where to where the value axis goes: a few wild values do not flatten the rest. A share goes from 0 to 1."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if share and low >= 0 and high <= 1:
        return 0.0, 1.0
    least, most = _usual(values)
    low, high = max(low, least - (most - least) / 2), min(high, most + (most - least) / 2)
    size = max(abs(low), abs(high))
    room = max(0.06 * (high - low), 1e-4 * size) if high > low else 0.1 * size or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to six round values in [low, high]."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough or m == 10)
    step = max(1.0, round(step)) if whole else step
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in 10 ** [low, high], at most five."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    return [10.0**power for power in powers[:: max(1, math.ceil(len(powers) / 5))]]


def _strokes(places: Iterable[Any]) -> list[list[Any]]:
    """Runs of places without a gap (None)."""
    strokes: list[list[Any]] = [[]]
    for place in places:
        if place is None:
            strokes.append([])
        else:
            strokes[-1].append(place)
    return [stroke for stroke in strokes if stroke]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
