"""What a run is worth that translates: beside partners where there are any, else beside the domain it should reach."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from ganvas.console import note
from ganvas.data import Dataset, parse
from ganvas.errors import DataError, UsageError
from ganvas.figures import (
    BACK,
    BATCH,
    CYCLE,
    MIOU,
    Figures,
    Images,
    Tools,
    distances,
    gathered,
    patient,
    set_figures,
    told,
)
from ganvas.game import Game
from ganvas.metrics import Figure, PairMetric, SetMetric
from ganvas.metrics import subset as drawn
from ganvas.metrics.moments import double
from ganvas.metrics.segmentation import Confusion, Segmenter
from ganvas.streams import Purpose, permutation
from ganvas.ways import Way, portions, translated, ways


class CycleError(PairMetric):
    """Mean over pixels and channels of |x - y|, pixels in [0, 1]: of images and what comes back of them."""

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        return (double(x) - double(y)).abs().mean((1, 2, 3))[:, None] / 2

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        return {"unit": "mean absolute error, pixels in [0, 1]", "mean": "pixels, channels, images"}


def translation_figures(
    game: Game,
    dataset: Dataset,
    tools: Tools,
    *,
    n: int,
    seed: int,
    segmenter: Segmenter | None = None,
    lacks: Collection[str] = (),
) -> Figures:
    """The figures of a game's translations, of both directions where it has both (the second's end in ``-BtoA``).

    With partners (paired data, label maps): each row of the test split where there is one, or of the split that the
    spec names, against its partner; in distances of sets, all translations against all partners.

    Without (unpaired data), of A to B, and likewise of B to A: with B1 and B2 two seeded halves of the training
    pictures of B and N = min(n, |A|, |B1|, |B2|), each figure has the value d(G(A), B1) and the parts ``source``
    d(A, B1) and ``floor`` d(B2, B1), where d(x, y) has the reference y, all of N pictures. A is of the training split,
    or of the split that the spec names. ``cycle`` is the error of A translated there and back.

    Pictures are as `Dataset.tensors` gives them: where the data is cropped, the centred window. Row i is translated by
    (seed, i). Metrics that cannot be had are told and left out, as `Tools` says. lacks: nets of the game that were
    neither trained nor imported: no direction is measured that needs one.
    """
    figures: Figures = {}
    failures: dict[str, DataError] = {}
    names = tools.names
    there = ways(game, dataset.schema)
    able = [way for way in there if not {"G", f"G_{way.direction[0]}"} & set(lacks)]
    for way in able:
        mine = tools if way is able[0] else Tools(names)  # sums of their own
        try:
            if dataset.kind == "unpaired":
                found = _towards_domain(game, dataset, mine, way, n, seed)
            else:
                found = _beside_partners(game, dataset, mine, way, n, seed, segmenter)
        except DataError as error:
            failures[way.direction] = error
            continue
        figures |= {name if way is there[0] else name + BACK: figure for name, figure in found.items()}
    for direction, failure in failures.items():
        if not figures:
            raise failure
        note(f"{direction} left out: {failure}")
    return figures


def _where(dataset: Dataset, way: Way, seed: int) -> dict[str, Any]:
    """What recipes say of the pictures."""
    where: dict[str, Any] = {"data": dataset.spec, "seed": seed}
    where["direction"] = "maps to photographs" if way.source == "labels" else way.direction
    if isinstance(window := parse(dataset.spec).crop, tuple):
        where["window"] = f"the centred {window[0]}x{window[1]} of each picture"
    return where


# ---- with partners ---------------------------------------------------------------------------------------------------
def _beside_partners(
    game: Game, dataset: Dataset, tools: Tools, way: Way, n: int, seed: int, segmenter: Segmenter | None
) -> Figures:
    split = parse(dataset.spec).split or ("test" if "test" in dataset.splits else dataset.split)
    dataset = dataset.part(split)
    rows, device = drawn(n, len(dataset), seed=seed), next(game.parameters()).device
    pairs = tools.of(PairMetric)  # type: ignore[type-abstract]  # asked of, never called
    sets = tools.of(SetMetric)  # type: ignore[type-abstract]
    seen, real = (Confusion(len(dataset.schema.classes)) for _ in range(2))
    judges = [] if segmenter is None else [segmenter]

    def segment(labels: Tensor, x: Tensor, y: Tensor) -> None:
        """Where it fails it leaves, and is told; it is no failure of who asked for the images."""
        for judge in judges:
            try:
                found = judge(y), judge(x)
                seen.update(labels, found[0])
                real.update(labels, found[1])
            except DataError as error:
                judges.clear()
                tools.fail([MIOU], error)

    def partners() -> Iterator[Tensor]:
        for first, end in portions(dataset.schema[way.source], len(rows)):
            yield dataset.tensors(rows[first:end], device)[way.target]

    def translations() -> Iterator[Tensor]:
        for first, end in portions(dataset.schema[way.source], len(rows)):
            batch = dataset.tensors(rows[first:end], device)
            x, y = batch[way.target], translated(game, batch, way, seed=seed, first=first)
            tools.update(pairs, x, y)
            if judges:
                segment(batch["labels"], x, y)
            yield y

    chosen = f"{len(rows)} of {len(dataset)}"
    known = None if dataset.content is None else f"{dataset.content} {way.target} {chosen} by {seed}"
    stream = translations()
    figures = {}
    if sets:
        reference = Images("the partners", partners(), len(rows), known)
        figures = set_figures(tools, sets, reference, Images("the translations", stream, len(rows)))
    for _ in patient(Images("the translations", stream, len(rows))):  # those that no metric of sets has asked for
        pass
    figures |= {pair.name: pair.figure() for pair in pairs}
    for judge in judges:
        figures[MIOU] = _segmented(seen, real, judge, dataset.schema.classes)
    where = {**_where(dataset, way, seed), "split": split, "rows": chosen}
    return {name: told(figure, **where) for name, figure in figures.items()}


def _segmented(seen: Confusion, real: Confusion, segmenter: Segmenter, classes: tuple[str, ...]) -> Figure:
    """The segmenter's figure of translations, and of the photographs themselves, beyond which none can be expected."""
    parts = {
        "real": real.miou,
        "real pixel accuracy": real.pixel_accuracy,
        "real class accuracy": real.class_accuracy,
        **seen.parts(classes),
    }
    return Figure(seen.miou, None, seen.n, segmenter.recipe, parts)


# ---- without ---------------------------------------------------------------------------------------------------------
def _towards_domain(game: Game, dataset: Dataset, tools: Tools, way: Way, n: int, seed: int) -> Figures:
    device = next(game.parameters()).device
    training = dataset.part("train") if "train" in dataset.splits else dataset
    one, two = dataset.domain(way.source), training.domain(way.target)
    order, half = permutation(len(two), seed, 0, Purpose.METRIC), len(two) // 2
    count = min(n, len(one), half)  # the second half is no smaller than the first
    if half < 2:
        count = min(n, len(one))
        if names := [tool.name for tool in tools.of(SetMetric)]:  # type: ignore[type-abstract]  # asked of, never called
            why = (
                f"{dataset.spec} has {len(two)} pictures of {way.target}, too few to halve: --data with four at least."
            )
            tools.fail(names, DataError(why))
    rows = drawn(count, len(one), seed=seed)
    a, b = way.source, way.target

    def images(name: str, of: Dataset, which: Any) -> Images:
        def batches() -> Iterator[Tensor]:
            for first in range(0, count, BATCH):
                yield of.tensors(which[first : first + BATCH], device)["image"]

        known = None if of.content is None else f"{of.content} {name} {count} of {len(of)} by {seed}"
        return Images(name, batches(), count, known)

    cycle = CycleError(CYCLE)
    cycles: list[PairMetric] = [cycle] if CYCLE in tools.names else []
    if cycles and len(ways(game, dataset.schema)) < 2:
        tools.fail([CYCLE], UsageError(f"There is no way back from {b}."))
        cycles = []

    def translations() -> Iterator[Tensor]:
        for first, end in portions(dataset.schema[way.source], count):
            x = one.tensors(rows[first:end], device)["image"]
            y = translated(game, {a: x}, way, seed=seed, first=first)
            if cycles:
                back = translated(game, {b: y}, Way(f"{b}to{a}", b, a), seed=seed, first=first)
                tools.update(cycles, x, back)
            yield y

    stream = translations()
    figures: Figures = {}
    if sets := tools.of(SetMetric):  # type: ignore[type-abstract]
        figures = _between(
            tools,
            sets,
            images(f"{b}1", two, order[:half][:count]),
            Images(f"{a} to {b}", stream, count),
            images(a, one, rows),
            images(f"{b}2", two, order[half:][:count]),
        )
    for _ in patient(Images(f"{a} to {b}", stream, count)):  # those that no metric of sets has asked for
        pass
    sizes = f"min(|{a}| {len(one)}, |{b}1| {half}, |{b}2| {len(two) - half})"
    halves = {
        "value": f"G({a})",
        "source": a,
        "floor": f"{b}2",
        "against": f"{b}1; {b}1, {b}2: halves of the {len(two)} {b} of {training.split}, shuffled by the seed",
        "N": f"{count}, as asked for" if count == n else f"{count} = {sizes}",
        "compare": "values of one N alone",
    }
    where = {**_where(dataset, way, seed), "split": dataset.split}
    figures = {name: told(figure, **halves, **where) for name, figure in figures.items()}
    for tool in cycles:
        figures[CYCLE] = told(tool.figure(), cycle=f"{a} to {b} to {a}", rows=f"{count} of {len(one)}", **where)
    return figures


def _between(
    tools: Tools, sets: list[SetMetric[Any]], reference: Images, judged: Images, source: Images, floor: Images
) -> Figures:
    """The distance of each metric from what is judged to the reference; in its parts those of source and floor."""
    if not (found := gathered(tools, sets, reference, judged, source, floor)):
        return {}
    real, *others = found
    values = distances(tools, sets, real, others[0])
    for name, other in zip(("source", "floor"), others[1:], strict=True):
        beside = distances(tools, [tool for tool in sets if tool.name in values], real, other)
        values = {
            tool: Figure(f.value, f.std, f.n, f.recipe, {**f.parts, name: beside[tool].value})
            for tool, f in values.items()
            if tool in beside
        }
    return values
