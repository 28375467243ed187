"""What a run is worth: its verbs times the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import torch
from torch import Tensor

from ganvas import weights
from ganvas.console import note
from ganvas.data import Dataset, parse
from ganvas.devices import device as named_device
from ganvas.errors import Damaged, DataError, GanvasError, MissingWeights, RunError, UsageError, nearest
from ganvas.game import Game
from ganvas.inputs import fitting
from ganvas.metrics import COMPARES, NAMES, TABLE, Figure, Metric, Modes, Moments, PairMetric, SetMetric, gather, metric
from ganvas.metrics import subset as drawn
from ganvas.run import Run
from ganvas.verbs import Bounds, Reconstructs, Samples

MOST = 10_000  # images that are measured, unless told otherwise
POINTS = 2500  # of a mixture
BATCH = 100
ELBO = "elbo"
ALL = (*NAMES, ELBO)
NEEDS = {"pairs": "reconstruct", "sets": "sample", "mixture": "sample", ELBO: ELBO}  # what it compares -> its verb

Figures = dict[str, Figure]
M = TypeVar("M", bound=Metric)


def evaluate(
    run: Run | str | Path,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Figures:
    """The metrics that the run's verbs have, or those named; they are recorded in the run.

    run: a run or its folder. data: a data spec instead of the run's own. n: how many images (default: all, at most
    10,000), or points of a mixture (default: 2,500). seed: of the samples, and of the subset where there are more rows.

    Reconstructions and the bound are measured on the split ``test`` where there is one; samples against the training
    split. Metrics that cannot be had (their weights are missing, the images are too small) are told in a line on
    stderr, and the others still run; when none is left the error is raised. A figure that should not be trusted is told
    there, too. Raises UsageError for metrics that there are not, or that this run has not.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    check_n(n)
    wanted = None if metrics is None else checked(metrics, ALL)
    dataset = fitting(run, data, labelled="encode" in run.config.verbs)
    names = _chosen(run, dataset, wanted)
    game, checkpoint = run.loaded(device=named_device(device))
    tools = Tools(names)
    figures: Figures = {}
    if modes := tools.of(Modes):
        figures |= _points(game, dataset, modes, n or POINTS, seed)
    pairs = tools.of(PairMetric)  # type: ignore[type-abstract]  # asked of, never called
    if pairs or ELBO in names:
        figures |= _reconstructions(game, dataset, tools, pairs, n or MOST, seed, bound=ELBO in names)
    if sets := tools.of(SetMetric):  # type: ignore[type-abstract]
        figures |= _samples(game, dataset, tools, sets, n or MOST, seed)
    figures = {name: told(figures[name], run=str(run.folder)) for name in names if name in figures}
    caution(figures)
    try:
        run.record(checkpoint.step, {name: figure.to_json() for name, figure in figures.items()})
    except RunError as error:  # someone else's run, perhaps: what was measured is not lost
        note(f"note: not recorded: {error}")
    return figures


class Tools:
    """Metrics by name. Those that cannot be had are told in a line and left out; the last of them is an error."""

    def __init__(self, names: Sequence[str]) -> None:
        self._tools: dict[str, Metric | None] = {}  # the bound of the likelihood needs no tool
        lacking: dict[str, MissingWeights] = {}
        failures: dict[str, tuple[list[str], GanvasError]] = {}  # by what is said: one line for all that it befalls
        for name in names:
            try:
                self._tools[name] = None if name == ELBO else metric(name)
            except MissingWeights as error:
                lacking[name] = error
            except Damaged as error:
                failures.setdefault(str(error), ([], error))[0].append(name)
        if lacking:
            first, *others = lacking
            missing = MissingWeights(_without_weights(list(lacking))) if others else lacking[first]
            failures[str(missing)] = list(lacking), missing
        said = list(failures.values())
        for left_out, failure in said if self._tools else said[1:]:
            note(f"{', '.join(left_out)} left out: {failure}")
        if said and not self._tools:
            raise said[0][1]

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that can be had."""
        return tuple(self._tools)

    def of(self, kind: type[M]) -> list[M]:
        """Those of one kind."""
        return [tool for tool in self._tools.values() if isinstance(tool, kind)]

    def update(self, pairs: list[PairMetric], x: Tensor, y: Tensor) -> None:
        """Adds pairs of images to each metric; one that cannot measure them leaves ``pairs``, and is told."""
        for pair in list(pairs):
            try:
                pair.update(x, y)
            except DataError as error:
                self.fail([pair.name], error)
                pairs.remove(pair)

    def fail(self, names: Sequence[str], error: GanvasError) -> None:
        """Leaves metrics out, and says why. Raises the error where nothing is left."""
        for name in names:
            self._tools.pop(name, None)
        if not self._tools:
            raise error
        note(f"{', '.join(names)} left out: {error}")


def _without_weights(names: Sequence[str]) -> str:
    """One sentence on all the weights that several metrics lack."""
    needed = {weight for name in names for weight in TABLE[name].weights}
    missing = [weight for weight in weights.TABLE if weight in needed and not weights.at_hand(weight)]
    usual = len(missing) > 1 and all(weights.TABLE[weight].usual for weight in missing)
    commands = [f"`ganvas fetch {name}`" for name in ([weights.USUAL] if usual else missing)]
    return f"published weights are not at hand ({', '.join(missing)}): run {' and '.join(commands)}."


def checked(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names of metrics, each once. Raises UsageError for one that is not known, or for none."""
    if not names:
        raise UsageError(f"Name at least one metric of {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise UsageError(f"There is no metric {name!r}: {nearest(name, known)}.")
    return list(dict.fromkeys(names))


def check_n(n: int | None) -> None:
    """Raises UsageError for fewer than two images, which have no spread."""
    if n is not None and n < 2:
        raise UsageError(f"-n must be at least 2, not {n}.")


def had(verbs: Sequence[str], dataset: Dataset) -> list[str]:
    """The names of the metrics that these verbs have on this data."""
    vectors = "vector" in dataset.schema
    return [
        name
        for name in ALL
        if NEEDS[COMPARES.get(name, ELBO)] in verbs
        and (COMPARES.get(name) == "mixture") == vectors
        and (name != "modes" or dataset.mixture is not None)
    ]


def _chosen(run: Run, dataset: Dataset, wanted: Sequence[str] | None) -> list[str]:
    """The names of the metrics that the run's verbs and data have, or of those wanted. Raises UsageError."""
    able = had(run.config.verbs, dataset)
    for name in wanted or []:
        if name not in able:
            raise UsageError(
                f"{run.folder} ({run.config.system} on {dataset.spec}) has no {name}: {nearest(name, able)}."
            )
    if wanted is None:
        digits = parse(dataset.spec).source == "digits"
        wanted = [name for name in able if name == ELBO or TABLE[name].by_default or (name == "fd-digits" and digits)]
    if not wanted:
        raise UsageError(f"There is no metric for {run.config.system} on {dataset.spec}.")
    return list(wanted)


# ---- by verb ---------------------------------------------------------------------------------------------------------
def _points(game: Game, dataset: Dataset, tools: list[Modes], n: int, seed: int) -> Figures:
    assert isinstance(game, Samples)
    points = game.sample(n, seed=seed)
    return {tool.name: told(tool.figure(points, str(dataset.mixture)), seed=seed) for tool in tools}


def _reconstructions(
    game: Game, dataset: Dataset, tools: Tools, pairs: list[PairMetric], n: int, seed: int, *, bound: bool
) -> Figures:
    """One pass over the images: each against its reconstruction, and the bound of its likelihood."""
    split = parse(dataset.spec).split or ("test" if "test" in dataset.splits else dataset.split)
    dataset = dataset.part(split)
    rows, device = drawn(n, len(dataset), seed=seed), next(game.parameters()).device
    parts: tuple[str, ...] = ()
    bounds = Moments()
    for first in range(0, len(rows), BATCH):
        batch = dataset.tensors(rows[first : first + BATCH], device)
        x, label = batch["image"], batch.get("label")
        if pairs:
            assert isinstance(game, Reconstructs)
            y = game.reconstruct(x, seed=seed, first=first, label=label)
            tools.update(pairs, x, y)
        if bound:
            assert isinstance(game, Bounds)
            found = game.elbo(x, seed=seed, first=first, label=label)
            parts = tuple(found)
            bounds.update(torch.stack(list(found.values()), 1))
    where = {"data": dataset.spec, "split": split, "rows": f"{len(rows)} of {len(dataset)}", "seed": seed}
    figures = {pair.name: told(pair.figure(), **where) for pair in pairs}
    if bound:
        figures[ELBO] = _bound(game, bounds, parts, where)
    return figures


def _bound(game: Game, bounds: Moments, parts: Sequence[str], where: dict[str, Any]) -> Figure:
    mean = dict(zip(parts, bounds.mean.tolist(), strict=True))
    std = dict(zip(parts, bounds.covariance.diagonal().sqrt().tolist(), strict=True))
    recipe = {
        "unit": "nats per image, with all constants",
        "likelihood": getattr(getattr(game, "config", None), "likelihood", "gaussian"),
        "z": "one draw of the posterior an image",
    }
    if "bits_per_dim" in mean:
        recipe |= {
            "pixels": "[-1, 1], uniformly dequantised by one grey level",
            "bits_per_dim": "-elbo / (D ln 2) + log2(127.5)",
        }
    told = mean.pop(ELBO)
    return Figure(told, std[ELBO], bounds.n, {**recipe, **where}, mean)


def _samples(game: Game, dataset: Dataset, tools: Tools, sets: list[SetMetric[Any]], n: int, seed: int) -> Figures:
    """Samples against the training split, in every feature space at once."""
    rows, device = drawn(n, len(dataset), seed=seed), next(game.parameters()).device
    chosen = f"{len(rows)} of {len(dataset)}"

    def reference() -> Iterator[Tensor]:
        for first in range(0, len(rows), BATCH):
            yield dataset.tensors(rows[first : first + BATCH], device)["image"]

    def samples() -> Iterator[Tensor]:
        assert isinstance(game, Samples)
        for first in range(0, len(rows), BATCH):
            yield game.sample(min(BATCH, len(rows) - first), seed=seed, first=first)

    known = None if dataset.content is None else f"{dataset.content} {chosen} by {seed}"
    real = Images("the reference", reference(), len(rows), known)
    figures = set_figures(tools, sets, real, Images("the samples", samples(), len(rows)))
    where: dict[str, Any] = {"data": dataset.spec, "split": dataset.split, "rows": chosen, "seed": seed}
    if getattr(game, "classes", 0):
        where["classes"] = "sample i of class i modulo the number of classes"
    return {name: told(figure, **where) for name, figure in figures.items()}


@dataclass(frozen=True)
class Images:
    """One of two sets of images."""

    name: str
    batches: Iterable[Tensor]
    count: int
    fingerprint: str | None = None


def _patient(images: Images) -> Iterator[Tensor]:
    """The batches; where measuring them will take minutes, that is said once, on stderr."""
    start, seen, said = monotonic(), 0, False
    for batch in images.batches:
        passed = monotonic() - start
        if passed > 10 and not said:
            left = passed / seen * (images.count - seen)
            said = True
            if left > 60:
                note(f"note: {images.name}: {images.count:,} images take {left / 60:.0f} more minutes; -n takes fewer")
        yield batch
        seen += len(batch)


def set_figures(
    tools: Tools,
    sets: Sequence[SetMetric[Any]],
    reference: Images,
    judged: Images,
) -> Figures:
    """The figures of one set of images beside a reference, in one pass over each. Metrics that cannot measure them are
    left out, and told."""
    try:
        real, fake = (gather(sets, _patient(side), fingerprint=side.fingerprint) for side in (reference, judged))
    except DataError as error:
        tools.fail([tool.name for tool in sets], error)
        return {}
    figures: Figures = {}
    for tool in sets:
        try:
            figures[tool.name] = tool.distance(real[tool.name], fake[tool.name])
        except DataError as error:
            tools.fail([tool.name], error)
    return figures


def caution(figures: Figures) -> None:
    """Says on stderr which figures should not be trusted, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for name, figure in figures.items():
        if "warning" in figure.recipe:
            reasons.setdefault(str(figure.recipe["warning"]), []).append(name)
    for reason, names in reasons.items():
        note(f"warning: {', '.join(names)}: {reason}")


def told(figure: Figure, **more: Any) -> Figure:
    """The figure with more said in its recipe."""
    return replace(figure, recipe={**figure.recipe, **more})
