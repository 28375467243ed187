"""What a run is worth: its verbs times the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvas.console import note
from ganvas.data import Dataset, parse
from ganvas.devices import device as named_device
from ganvas.errors import RunError, UsageError, nearest
from ganvas.figures import (
    ALL,
    BACK,
    BATCH,
    CYCLE,
    ELBO,
    MIOU,
    MOST,
    Figures,
    Images,
    Tools,
    caution,
    check_n,
    checked,
    set_figures,
    told,
)
from ganvas.game import Game
from ganvas.inputs import fitting
from ganvas.inputs import told as reading_for
from ganvas.metrics import COMPARES, TABLE, Figure, Modes, Moments, PairMetric, SetMetric
from ganvas.metrics import subset as drawn
from ganvas.metrics.segmentation import Segmenter
from ganvas.run import Run
from ganvas.settings import missing_parts
from ganvas.translation_measures import translation_figures
from ganvas.verbs import Bounds, Reconstructs, Samples
from ganvas.ways import together

POINTS = 2500  # of a mixture
NEEDS = {"pairs": "reconstruct", "sets": "sample", "mixture": "sample", ELBO: ELBO}  # what it compares -> its verb
# By the data of a run that translates: what its metrics compare, and which are measured where nobody names any.
TRANSLATED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "paired": (("pairs", "sets"), ("psnr", "ssim", "lpips-alex", "lpips-squeeze")),
    "labels": (("pairs", "sets", MIOU), ("psnr", "ssim", "lpips-alex", "lpips-squeeze", MIOU)),
    "unpaired": (("sets", CYCLE), ("fd-alex", "kd-alex", "fid", "kid", CYCLE)),
}
LOOKS_THROUGH = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg19": "vgg16", "vgg16-12": "vgg16"}  # -> weights


def evaluate(
    run: Run | str | Path,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    segmenter: str | Path | None = None,
    quiet: bool = False,
) -> Figures:
    """The metrics that the run's verbs have, or those named; they are recorded in the run, with what was read for them.

    run: a run or its folder. data: a data spec instead of the run's own. n: how many images (default: all, at most
    10,000), or points of a mixture (default: 2,500). seed: of the samples, and of the subset where there are more rows.
    segmenter: an ONNX file that says what it sees in pictures made of label maps: `Segmenter`. quiet: not to say on
    stderr what was read.

    Data is prepared as the run's was: the run's own, however its path is spelled, and other images to the run's size.
    Reconstructions, the bound, and translations of images that have partners are measured on the split ``test`` where
    there is one; samples against the training split; what `translation_figures` says of translations without partners.
    Metrics that cannot be had (their weights are missing, the images are too small) are told in a line on stderr, and
    the others still run; when none is left the error is raised. A figure that should not be trusted is told there, too,
    and so is one in the very features that the run's loss looked through. Of a run that translates both ways the way
    back has figures of its own, such as ``fd-alex-BtoA``; what needs a net that an imported run lacks is not measured.
    Raises UsageError for metrics that there are not, or that
    this run has not.
    """
    return _evaluate(run, data, metrics, n, seed, device, segmenter, quiet, keep_best=False)


def evaluate_for_best(run: Run, metric: str, n: int, device: str) -> Figures:
    """Measure one metric of the newest checkpoint, to decide whether that checkpoint is the best so far.

    The result is recorded as made for this: other evaluations may use other data or fewer images.
    """
    return _evaluate(run, None, [metric], n, 0, device, None, True, keep_best=True)


def _evaluate(
    run: Run | str | Path,
    data: str | None,
    metrics: Sequence[str] | None,
    n: int | None,
    seed: int,
    device: str,
    segmenter: str | Path | None,
    quiet: bool,
    *,
    keep_best: bool,
) -> Figures:
    run = run if isinstance(run, Run) else Run.open(run)
    check_n(n)
    wanted = None if metrics is None else checked(metrics, ALL)
    dataset = fitting(run, data, labelled="encode" in run.config.verbs)
    names = _chosen(run, dataset, wanted, segmented=segmenter is not None)
    judge = None if segmenter is None else Segmenter(segmenter, len(dataset.schema.classes))
    game, checkpoint = run.loaded(device=named_device(device))
    tools = Tools(names)
    reading = reading_for(run, dataset)
    if not quiet:
        reading.tell()
    figures: Figures = {}
    if "translate" in run.config.verbs:
        lacks = missing_parts(run.config)
        figures |= translation_figures(game, dataset, tools, n=n or MOST, seed=seed, segmenter=judge, lacks=lacks)
    else:
        figures |= _of_images(game, dataset, tools, n, seed)
    ordered = [key for name in names for key in (name, name + BACK) if key in figures]
    about = {name: run.config.leaves[name] for name in ("perceptual",) if name in run.config.leaves}
    prepared = {"prepared": reading.prepared} if reading.prepared else {}
    figures = {name: told(figures[name], run=str(run.folder), **about, **prepared) for name in ordered}
    figures |= _partial(figures, run.config.leaves)
    caution(figures)
    try:
        measured = {name: figure.to_json() for name, figure in figures.items()}
        run.record(checkpoint.step, measured, reading=reading.to_json(), keep_best=keep_best)
    except RunError as error:  # someone else's run, perhaps: what was measured is not lost
        note(f"note: not recorded: {error}")
    return figures


def _of_images(game: Game, dataset: Dataset, tools: Tools, n: int | None, seed: int) -> Figures:
    """What is measured of a run that draws, or passes images through a code."""
    figures: Figures = {}
    if modes := tools.of(Modes):
        figures |= _points(game, dataset, modes, n or POINTS, seed)
    pairs = tools.of(PairMetric)  # type: ignore[type-abstract]  # asked of, never called
    if pairs or ELBO in tools.names:
        figures |= _reconstructions(game, dataset, tools, pairs, n or MOST, seed, bound=ELBO in tools.names)
    if sets := tools.of(SetMetric):  # type: ignore[type-abstract]
        figures |= _samples(game, dataset, tools, sets, n or MOST, seed)
    return figures


def had(verbs: Sequence[str], dataset: Dataset, *, segmented: bool = False) -> list[str]:
    """The names of the metrics that these verbs have on this data. segmented: whether a segmenter is at hand."""
    if "translate" in verbs:
        compared, _ = TRANSLATED.get(dataset.kind, ((), ()))
        return [name for name in ALL if COMPARES.get(name, name) in compared and (name != MIOU or segmented)]
    vectors = "vector" in dataset.schema
    return [
        name
        for name in ALL
        if NEEDS.get(COMPARES.get(name, name)) in verbs
        and (COMPARES.get(name) == "mixture") == vectors
        and (name != "modes" or dataset.mixture is not None)
    ]


def _chosen(run: Run, dataset: Dataset, wanted: Sequence[str] | None, *, segmented: bool) -> list[str]:
    """The names of the metrics that the run's verbs and data have, or of those wanted. Raises UsageError."""
    able = had(run.config.verbs, dataset, segmented=segmented)
    lacks = [part for part in missing_parts(run.config) if part.startswith("G")]
    if lacks and CYCLE in (wanted or []):
        raise UsageError(f"{run.folder} was imported without {lacks[0]}: there is no way back to measure {CYCLE} on.")
    able = [name for name in able if not (lacks and name == CYCLE)]
    what = f"{run.folder} ({run.config.system} on {dataset.spec})"
    if segmented and MIOU not in able:
        raise UsageError(f"{what} makes no pictures of label maps: leave --segmenter away.")
    for name in wanted or []:
        if name == MIOU and not segmented and MIOU in had(run.config.verbs, dataset, segmented=True):
            raise UsageError(f"{MIOU} needs a net that says what it sees: --segmenter FILE.onnx.")
        if name not in able:
            raise UsageError(f"{what} has no {name}: {nearest(name, able)}.")
    if segmented and wanted is not None and MIOU not in wanted:
        raise UsageError(f"--segmenter says nothing without {MIOU} among the metrics.")
    if wanted is None and "translate" in run.config.verbs:
        wanted = [name for name in TRANSLATED.get(dataset.kind, ((), ()))[1] if name in able]
    if wanted is None:
        digits = parse(dataset.spec).source == "digits"
        wanted = [name for name in able if name == ELBO or TABLE[name].by_default or (name == "fd-digits" and digits)]
    if not wanted:
        raise UsageError(f"There is no metric for {run.config.system} on {dataset.spec}.")
    return list(wanted)


def no_judge(name: str, leaves: Mapping[str, Any]) -> str | None:
    """Why a metric cannot judge a run of these settings, if so: its loss looks through that net, or one of its kin."""
    loss = leaves.get("perceptual")
    if not leaves.get("perceptual_weight", 1) or name not in TABLE:
        return None
    if LOOKS_THROUGH.get(str(loss)) in TABLE[name].weights:
        kin = "a net of the same family does in this metric" if loss == "vgg19" else "this metric does"
        return f"the run's perceptual loss looks through {loss}, as {kin}"
    return None


def _partial(figures: Figures, leaves: Mapping[str, Any]) -> Figures:
    """The figures that are not to judge the run, marked; they are told on stderr."""
    whys = {name: why for name in figures if (why := no_judge(name.removesuffix(BACK), leaves))}
    if whys:
        note(f"warning: {', '.join(whys)}: not a judge: {next(iter(whys.values()))}")
    return {name: told(figures[name], not_a_judge=why) for name, why in whys.items()}


# ---- by verb ---------------------------------------------------------------------------------------------------------
def _points(game: Game, dataset: Dataset, tools: list[Modes], n: int, seed: int) -> Figures:
    assert isinstance(game, Samples)
    points = game.sample(n, seed=seed)
    return {tool.name: told(tool.figure(points, str(dataset.mixture)), seed=seed) for tool in tools}


def _portions(dataset: Dataset, count: int) -> Iterator[tuple[int, int]]:
    """The numbers 0 .. count - 1 as runs (first, last + 1) of as many images as may pass through a net together."""
    height, width = dataset.schema["image"][-2:]
    some = min(BATCH, together(height, width))
    for first in range(0, count, some):
        yield first, min(first + some, count)


def _reconstructions(
    game: Game, dataset: Dataset, tools: Tools, pairs: list[PairMetric], n: int, seed: int, *, bound: bool
) -> Figures:
    """One pass over the images: each against its reconstruction, and the bound of its likelihood."""
    split = parse(dataset.spec).split or ("test" if "test" in dataset.splits else dataset.split)
    chosen = dataset.part(split)
    if getattr(game, "classes", 0) and "label" in dataset.schema and "label" not in chosen.schema:
        note(f"note: {dataset.spec} has no labels in its split {split}: measured on {dataset.split}.")
        chosen, split = dataset, dataset.split
    dataset = chosen
    rows, device = drawn(n, len(dataset), seed=seed), next(game.parameters()).device
    parts: tuple[str, ...] = ()
    bounds = Moments()
    for first, end in _portions(dataset, len(rows)):
        batch = dataset.tensors(rows[first:end], device)
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
    value = mean.pop(ELBO)
    return Figure(value, std[ELBO], bounds.n, {**recipe, **where}, mean)


def _samples(game: Game, dataset: Dataset, tools: Tools, sets: list[SetMetric[Any]], n: int, seed: int) -> Figures:
    """Samples against the training split, in every feature space at once."""
    rows, device = drawn(n, len(dataset), seed=seed), next(game.parameters()).device
    chosen = f"{len(rows)} of {len(dataset)}"

    def reference() -> Iterator[Tensor]:
        for first, end in _portions(dataset, len(rows)):
            yield dataset.tensors(rows[first:end], device)["image"]

    def samples() -> Iterator[Tensor]:
        assert isinstance(game, Samples)
        for first, end in _portions(dataset, len(rows)):
            yield game.sample(end - first, seed=seed, first=first)

    known = None if dataset.content is None else f"{dataset.content} {chosen} by {seed}"
    real = Images("the reference", reference(), len(rows), known)
    figures = set_figures(tools, sets, real, Images("the samples", samples(), len(rows)))
    where: dict[str, Any] = {"data": dataset.spec, "split": dataset.split, "rows": chosen, "seed": seed}
    if getattr(game, "classes", 0):
        where["classes"] = "sample i of class i modulo the number of classes"
    return {name: told(figure, **where) for name, figure in figures.items()}
