"""Commands that measure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ganvas.cli.flags import Answer, Count, Device, RunFolder, Seed, default, describes
from ganvas.errors import UsageError

if TYPE_CHECKING:
    from ganvas.metrics import Figure

LOUD = ("not_a_judge", "warning")  # what stands in bold before a recipe
Names = Annotated[str | None, arg(metavar="a,b")]


def _of_runs() -> str:
    from ganvas.figures import ALL

    return f"Metrics: {' '.join(ALL)}."


def _of_sets() -> str:
    from ganvas.metrics import COMPARES

    sets, pairs = (" ".join(name for name, what in COMPARES.items() if what == kind) for kind in ("sets", "pairs"))
    return f"Metrics of any two sets: {sets}. Of images with a partner of the same name: {pairs}."


@describes(_of_runs)
def evaluate(
    run: RunFolder,
    data: Annotated[str | None, arg(metavar="SPEC"), default("the run's own")] = None,
    metrics: Annotated[Names, default("those that the run's verbs have")] = None,
    count: Annotated[Count[int | None], default("all, at most 10,000; 2,500 points")] = None,
    segmenter: Annotated[str | None, arg(metavar="FILE.onnx"), default("no miou")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Answer:
    """Measure a run with the metrics that its verbs have, or those named; each prints its recipe.

    Reconstructions, and translations of pictures with partners, are measured on the test split where there is one,
    samples against the training split. Translations without partners are measured against one half of the training
    pictures that they should be like, beside the distances of the originals (source) and of the other half (floor). A
    metric whose weights are missing is skipped with a message.

    Args:
        run: The run folder.
        data: What to measure on, prepared to the run's size.
        metrics: Names, separated by commas or spaces.
        count: How many images, or points of a mixture.
        segmenter: A net that says what it sees in pictures made of label maps, for miou.
        seed: Random seed of the samples, and of the subset where there are more images.
        device: Device to work on.
    """
    from ganvas.evaluation import evaluate as measure

    figures = measure(run, data=data, metrics=_names(metrics), n=count, seed=seed, device=device, segmenter=segmenter)
    return Answer({"run": str(run), "metrics": _json(figures)}, _table(figures))


@describes(_of_sets)
def compare(
    a: Annotated[Positional[str], arg(metavar="A")],
    b: Annotated[Positional[str], arg(metavar="B")],
    metrics: Annotated[Names, default("fd-alex,fd-squeeze")] = None,
    count: Annotated[Count[int | None], default("all; of two runs 10,000")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Answer:
    """Measure two sets of images against each other: folders, arrays or data specs, no model needed.

    A run folder stands for its samples, and beside it images are prepared as the run's. Else no image is resized unless
    the recipe of a metric says so, or a data spec asks for a size (?size=64): the two images of a pair must be of one
    size, and different pairs may be of different sizes. A is the reference where a metric
    has one, such as the real images of precision and recall.

    Args:
        a: One set.
        b: The other.
        metrics: Names, separated by commas or spaces.
        count: How many images of each set.
        seed: Random seed of the samples, and of the subset.
        device: Device to work on.
    """
    from ganvas.comparison import compare as measure

    figures = measure(a, b, metrics=_names(metrics), n=count, seed=seed, device=device)
    return Answer({"a": a, "b": b, "metrics": _json(figures)}, _table(figures))


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name for name in re.split(r"[,\s]+", text.lower()) if name]
    if not names:
        raise UsageError("--metrics takes one or more names, separated by commas, such as mse,psnr.")
    return list(dict.fromkeys(names))


def _json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}


def _table(figures: Mapping[str, Figure]) -> Any:
    """Every figure with its spread, its parts and which way is better; below them their recipes, of which what several
    have in common is said once."""
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    from ganvas.figures import larger_is_better

    values = Table("metric", "value", "std", "N", "better", box=None, padding=(0, 2, 0, 0))
    for name, figure in figures.items():
        std = "" if figure.std is None else f"{figure.std:.4g}"
        better = {True: "higher", False: "lower", None: ""}[larger_is_better(name)]
        values.add_row(Text(name, "bold"), Text(f"{figure.value:.5g}", "bold"), std, f"{figure.n:,}", better)
        for part, value in figure.parts.items():
            values.add_row(f"  {part}", f"{value:.5g}", "", "", "")
    warnings: list[RenderableType] = [
        Text(f"{name}: {key.replace('_', ' ')}: {figure.recipe[key]}", "bold")
        for name, figure in figures.items()
        for key in LOUD
        if key in figure.recipe
    ]
    recipes = Table("recipe", "", box=None, padding=(0, 2, 0, 0))
    for name, entries in _recipes(figures).items():
        recipes.add_row(name, _entries(entries))
    return Group(values, *(["", *warnings] if warnings else []), "", recipes)


def _recipes(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    """The recipe of each figure, without what all of a group of figures have in common, and that of each group."""
    groups = {"all": list(figures)}
    for name, figure in figures.items():
        if "features" in figure.recipe:
            groups.setdefault(f"in {figure.recipe['extractor']}", []).append(name)
    common = {group: _common([figures[name] for name in names]) for group, names in groups.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, figure in figures.items():
        said = {key for group, names in groups.items() if name in names for key in common[group]}
        found[name] = {key: value for key, value in figure.recipe.items() if key not in {*said, *LOUD}}
    for group, entries in reversed(common.items()):
        if told := {key: value for key, value in entries.items() if group == "all" or key not in common["all"]}:
            found[group] = told
    return found


def _common(figures: Sequence[Figure]) -> dict[str, Any]:
    """The entries that all of more than two recipes have in common."""
    first, *others = figures
    same = {
        key: value
        for key, value in first.recipe.items()
        if key not in (*LOUD, "extractor") and all(other.recipe.get(key) == value for other in others)
    }
    return same if len(figures) > 2 else {}


def _entries(recipe: Mapping[str, Any]) -> Any:
    from rich.text import Text

    return Text(", ".join(f"{key}: {value}" for key, value in recipe.items()))
