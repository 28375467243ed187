"""What every measurement shares: its tools by name, its passes over sets of images, and what is said of a figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, TypeVar

from torch import Tensor

from ganvas import weights
from ganvas.console import note
from ganvas.errors import Damaged, DataError, GanvasError, MissingWeights, UsageError, nearest
from ganvas.metrics import LARGER_IS_BETTER, NAMES, TABLE, Figure, Gathering, Metric, PairMetric, SetMetric, metric

MOST = 10_000  # images that are measured, unless told otherwise
BATCH = 100
ELBO, CYCLE, MIOU = "elbo", "cycle", "miou"
BESIDE = {ELBO: True, CYCLE: False, MIOU: True}  # figures that need more than images, and whether larger is better
ALL = (*NAMES, *BESIDE)
BACK = "-BtoA"  # after a metric's name: the figure of the way back of a run that translates both ways

Figures = dict[str, Figure]
Batch = Tensor | Sequence[Tensor]  # of images, or several batches of several sizes
M = TypeVar("M", bound=Metric)


def larger_is_better(name: str) -> bool | None:
    """Whether the larger of two values of a figure is the better one; None for a figure that there is not."""
    name = name.removesuffix(BACK)
    return BESIDE.get(name, name in LARGER_IS_BETTER) if name in ALL else None


class Tools:
    """Metrics by name. Those that cannot be had are told in a line and left out; the last of them is an error."""

    def __init__(self, names: Sequence[str]) -> None:
        self._tools: dict[str, Metric | None] = {}  # what stands beside the metrics needs no tool
        lacking: dict[str, MissingWeights] = {}
        failures: dict[str, tuple[list[str], GanvasError]] = {}  # by what is said: one line for all that it befalls
        for name in names:
            try:
                self._tools[name] = None if name in BESIDE else metric(name)
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
    """Names of metrics, in any case, each once; a text may hold several, separated by commas.

    Raises UsageError for one that is not known, or for none.
    """
    names = names.split(",") if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"metrics must be a list of names, such as ['mse'], not {names!r}.")
    names = [name.strip().lower() for name in names]
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


@dataclass(frozen=True)
class Images:
    """One of two sets of images."""

    name: str
    batches: Iterable[Batch]
    count: int
    fingerprint: str | None = None


def patient(images: Images) -> Iterator[Batch]:
    """The batches; where measuring them will take minutes, that is said once, on stderr."""
    start, seen, said = monotonic(), 0, False
    for batch in images.batches:
        passed = monotonic() - start
        if seen and passed > 10 and not said:
            left = passed / seen * (images.count - seen)
            said = True
            if left > 60:
                note(f"note: {images.name}: {images.count:,} images take {left / 60:.0f} more minutes; -n takes fewer")
        yield batch
        seen += len(batch) if isinstance(batch, Tensor) else sum(map(len, batch))


Gathered = dict[str, Any]  # the statistic that each metric needs of a set, by the metric's name


def gathered(tools: Tools, sets: Sequence[SetMetric[Any]], *sides: Images) -> list[Gathered]:
    """What the metrics need of each set of images, in one pass over each. Metrics that cannot measure one of them are
    left out of all, and told."""
    found: list[Gathered] = []
    able = list(sets)
    for side in sides:
        gathering = Gathering(able, fingerprint=side.fingerprint)
        found.append(finished(tools, gathering, patient(side)))
        able = [tool for tool in able if tool.name in found[-1]]
        if not able:
            return []
    return found


def finished(tools: Tools, gathering: Gathering, batches: Iterable[Batch] = ()) -> Gathered:
    """What is gathered of batches, as far as they must be seen; metrics that cannot measure them are left out, and
    told."""
    for batch in batches if gathering.missing else ():
        gathering.update(batch)
        if not gathering.missing:
            break
    reasons: dict[str, tuple[list[str], DataError]] = {}
    for name, error in gathering.failed.items():
        reasons.setdefault(str(error), ([], error))[0].append(name)
    for names, error in reasons.values():
        if left := [name for name in names if name in tools.names]:  # not by another set already
            tools.fail(left, error)
    try:
        return gathering.result()
    except DataError as error:
        tools.fail(list(gathering.names), error)
        return {}


def distances(tools: Tools, sets: Sequence[SetMetric[Any]], reference: Gathered, judged: Gathered) -> Figures:
    """The figures of one set beside a reference. Metrics that cannot measure them are left out, and told."""
    figures: Figures = {}
    for tool in sets:
        if tool.name not in reference or tool.name not in judged:
            continue
        try:
            figures[tool.name] = tool.distance(reference[tool.name], judged[tool.name])
        except DataError as error:
            tools.fail([tool.name], error)
    return figures


def set_figures(tools: Tools, sets: Sequence[SetMetric[Any]], reference: Images, judged: Images) -> Figures:
    """The figures of one set of images beside a reference, in one pass over each. Metrics that cannot measure them are
    left out, and told."""
    found = gathered(tools, sets, reference, judged)
    return distances(tools, sets, *found) if found else {}


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
