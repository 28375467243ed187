"""A run on one page: sheets over time, metrics with their recipes, curves, settings. One file, no outside links."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ganvas.console import clock
from ganvas.curves import groups, number
from ganvas.files import atomic, writing
from ganvas.run import Run

FRAMES = 8  # sheets of a kind that are shown: the first, the newest, and between them evenly
NEWEST, EARLIER, THUMB = (400_000, 1280), (60_000, 640), (20_000, 104)  # most bytes to the bit; most pixels a side
CORNER = 4  # part of a grid's side that its thumb shows
GRIDS = ("samples", "reconstructions")  # sheets that are grids of images, if of images at all
CAPTIONS = {
    "samples": ("Samples", "The same codes every time, by the averaged weights."),
    "reconstructions": ("Reconstructions", "The same images every time, each beside its copy."),
    "translations": ("Translations", "The same pictures every time, and under each what became of it."),
}

TERMS = {
    "accuracy": "share of real and fake images that the discriminator tells apart: near 0.5 it cannot, near 1 it wins",
    "real": "the discriminator's loss on real images",
    "fake": "the discriminator's loss on generated images; it falls while the discriminator wins",
    "fool": "the generator's adversarial loss; it rises while the discriminator wins, so no value is good by itself",
    "reconstruction": "how far reconstructions are from their images, lower is better",
    "likeness": "how far reconstructions are from their images in the discriminator's features, lower is better",
    "kl": "how far the codes of images are from the prior, in nats; near 0 the codes say nothing",
    "elbo": "lower bound of the log-likelihood, in nats, higher is better",
    "bits per dim": "nats of the bound as bits per pixel and channel, lower is better",
    "latent": "how far the encoder's code of a generated image is from the code it was made of, lower is better",
    "l1": "mean absolute difference from the target, lower is better",
    "cycle": "difference from the original after translating there and back, lower is better",
    "identity": "change of an image that already is of the target domain, lower is better",
    "matching": "distance of discriminator features of real and generated images, lower is better",
    "perceptual": "distance in the features of a pretrained network, lower is better",
    "gradient norm": "size of the gradient; sudden jumps hint at trouble",
    "r1": "penalty on the discriminator's slope on real images",
    "gradient penalty": "penalty that keeps the discriminator's slope near 1",
    "source": "the same distance of the images before translation: what doing nothing would give",
    "floor": "the same distance of other real images of the target: what a perfect translation would give",
    "pooled": "from the mean squared error of all images together",
    "identical": "how many images equal their originals; they are left out of the mean",
}  # what a logged term or a part of a metric means, and which way is good; A, B, ... after them are domains
_DOMAIN = re.compile(r" (A|B|AtoB|BtoA)$")


@dataclass(frozen=True)
class Frame:
    """A sheet of one checkpoint, as data URIs."""

    step: int
    image: str
    thumb: str


@dataclass(frozen=True)
class Reel:
    """The sheets of one kind, oldest first."""

    kind: str
    title: str
    caption: str
    frames: list[Frame]


@dataclass(frozen=True)
class Measured:
    """The newest figure of a metric, as the page shows it."""

    name: str
    value: float | None
    std: float | None
    notes: list[str]  # how many images, of which step, which way is better
    warning: str | None
    parts: Mapping[str, float | None]
    recipe: Mapping[str, Any]


def write_report(run: Run | str | Path) -> Path:
    """Writes ``report.html`` into the run folder, whole or not at all, and returns its path.

    A run that has no ticks, sheets or metrics yet gets a page that says so. Raises RunError when it cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    run = run if isinstance(run, Run) else Run.open(run)
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(number=number, words=_words)
    info, rows, evaluations = run.info(), run.stats(), run.metrics()
    figures, curves = _figures(evaluations), groups(rows, evaluations)
    page = pages.get_template("report.html.jinja").render(
        config=run.config,
        info=info,
        facts=_facts(info, rows, "points" if "vector" in run.config.schema else "images"),
        reels=[*reels(run.folder / "samples", grids="image" in run.config.schema), *_data(run.folder)],
        figures=figures,
        groups=curves,
        measured_terms=_glossary([part for figure in figures for part in figure.parts]),
        logged_terms=_glossary([chart.name for group in curves if group.name != "metrics" for chart in group.charts]),
        settings=_settings(run),
        commands=run.commands(),
        written=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
    )
    path = run.folder / "report.html"
    with writing(path), atomic(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def reels(folder: Path, *, grids: bool) -> list[Reel]:
    """The sheets ``KIND-STEP.png`` in ``folder``, a reel a kind; those that cannot be read are left out.

    grids: whether they are grids of images: their thumbs then show a corner, for a whole grid says little when small.
    """
    kinds: dict[str, dict[int, Path]] = {kind: {} for kind in CAPTIONS}
    for path in folder.glob("*.png"):
        if named := re.fullmatch(r"([a-z][\w-]*)-([0-9]+)", path.stem):
            kinds.setdefault(named[1], {})[int(named[2])] = path
    found = []
    for kind, sheets in kinds.items():
        title, caption = CAPTIONS.get(kind, (kind.capitalize(), ""))
        steps = _evenly(sorted(sheets), FRAMES)
        frames = [_frame(step, sheets[step], newest=step == steps[-1], grid=grids and kind in GRIDS) for step in steps]
        if whole := [frame for frame in frames if frame is not None]:
            found.append(Reel(kind, title, caption, whole))
    return found


def _glossary(names: Sequence[str]) -> dict[str, str]:
    """What each of the names means, of those that have a meaning; of ``cycle A`` that of ``cycle``."""
    plain = [_DOMAIN.sub("", name.replace("_", " ")) for name in names]
    known = [next((word for word in (name, name.partition(" ")[0]) if word in TERMS), None) for name in plain]
    return {word: TERMS[word] for word in dict.fromkeys(known) if word is not None}


def _data(folder: Path) -> list[Reel]:
    """What the run was trained on, as a reel of one sheet; none where there is no such sheet."""
    frame = _frame(0, folder / "data.png", newest=True, grid=True)
    caption = "Rows from all over the data, prepared as in training."
    return [] if frame is None else [Reel("data", "Data", caption, [frame])]


def _evenly(steps: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the steps, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _frame(step: int, path: Path, *, newest: bool, grid: bool) -> Frame | None:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            sheet = opened.convert("RGB" if opened.mode not in ("L", "RGB") else opened.mode)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for files that are no pictures
        return None
    side = max(1, min(sheet.size) // CORNER)
    corner = sheet.crop((0, 0, side, side)) if grid else sheet
    return Frame(step, _embed(sheet, *(NEWEST if newest else EARLIER)), _embed(corner, *THUMB))


def _embed(image: Any, most_bytes: int, most_pixels: int) -> str:
    """A picture as a data URI: to the bit if it is small enough so, else as good as the eye can tell."""
    from PIL import Image

    if max(image.size) > most_pixels:
        image = image.copy()
        image.thumbnail((most_pixels, most_pixels), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "webp", lossless=True)
    if packed.tell() > most_bytes:
        packed = io.BytesIO()
        image.save(packed, "webp", quality=86)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _facts(info: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], what: str) -> list[tuple[str, str, str]]:
    """Name, value and remark of what a reader asks first; ``what`` it is trained on."""
    last = rows[-1] if rows else {"step": info["step"], "images": 0, "seconds": 0.0}
    speed = last["images"] / last["seconds"] if last["seconds"] else None
    size = info["bytes"] / 1e6
    disk = ("On disk", f"{size:,.0f}" if size >= 10 else f"{size:.1f}", "MB")
    if info["imported"] is not None:  # nothing was trained here
        given, lacking = (
            [part for part, file in info["imported"].items() if bool(file) is has] for has in (True, False)
        )
        return [("Imported", ", ".join(given), f"without {', '.join(lacking)}" if lacking else "all nets"), disk]
    return [
        ("Steps", f"{last['step']:,}", f"of {info['steps']:,}"),
        (f"{what.capitalize()} seen", f"{last['images']:,}", ""),
        ("Trained for", clock(last["seconds"]), "h:mm:ss" if last["seconds"] >= 3600 else "m:ss"),
        ("Speed", f"{speed:,.0f}" if speed else "–", f"{what}/s"),
        disk,
    ]


def _figures(evaluations: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """The newest figure of every metric, with its step and with how to read it where that is known."""
    if not evaluations:
        return []
    from ganvas.figures import larger_is_better

    newest = {name: (row["step"], figure) for row in evaluations for name, figure in row["metrics"].items()}
    found = []
    for name, (step, figure) in newest.items():
        recipe = dict(figure.get("recipe") or {})
        measured = [f"n = {figure['n']:,}"] if isinstance(figure.get("n"), int) else []
        notes = [", ".join([*measured, f"step {step:,}"])]
        if (larger := larger_is_better(name)) is not None:
            notes.append("higher is better" if larger else "lower is better")
        said = (
            f"not a judge: {why}" if (why := recipe.pop("not_a_judge", None)) else None,
            recipe.pop("warning", None),
        )
        warning, parts = "; ".join(filter(None, said)) or None, figure.get("parts") or {}
        found.append(Measured(name, figure.get("value"), figure.get("std"), notes, warning, parts, recipe))
    return found


def _settings(run: Run) -> dict[str, dict[str, Any]]:
    """The config in the groups that a reader looks for."""
    c = run.config
    return {
        "System": {"system": c.system, "preset": c.preset, **c.leaves},
        **(
            {}
            if c.imported is None
            else {"Imported": {part: f"SHA-256 {file}" if file else "no file" for part, file in c.imported.items()}}
        ),
        "Data": {
            "data": c.data,
            "fields": ", ".join(f"{name} {'×'.join(map(str, shape))}".strip() for name, shape in c.schema.items()),
            "classes": ", ".join(c.classes) or None,
            "fingerprint": c.fingerprint,
            **_read(run),
        },
        "Training": {
            "seed": c.seed,
            "batch size": c.batch_size,
            "shares": c.shares,
            "ranks": c.world,
            "steps": c.steps,
            "steps per epoch": c.steps_per_epoch,
            "device": c.device,
            "precision": c.precision,
            "compiled": c.compile,
            "checkpoint every": c.checkpoint_every,
            "tick every": c.tick_every,
            "keep": c.keep,
            "keep best": c.keep_best,
            "started from": c.init,
        },
        "Made with": {"ganvas": c.ganvas, **c.versions, "commit": c.git},
    }


def _read(run: Run) -> dict[str, str]:
    """What was read to train on, and what was left out, as it was said; a line each."""
    found = run.reading() or {}
    said = found.get("said")
    lines = [str(line).replace(f" {found.get('data')}: ", ": ", 1) for line in said] if isinstance(said, list) else []
    pairs = (line.partition(": ") for line in lines)
    read: dict[str, str] = {}
    for name, _, text in pairs:
        read[name] = f"{read[name]}; {text}" if name in read else text
    return read


def _words(value: Any) -> str:
    """A setting as a reader wants it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return ", ".join(f"{k} {_words(v)}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
