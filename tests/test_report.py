"""The report: one page that needs nothing else, says what there is, and takes nobody's word for markup."""

from __future__ import annotations

import base64
import io
import json
import re
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import folders
from ganvas import report
from ganvas.errors import RunError
from ganvas.report import FRAMES, reels, write_report
from ganvas.run import Run

VOID = {"meta", "img", "input", "br", "line", "path", "circle"}


class Page(HTMLParser):
    """A page taken apart: its elements, its words, its styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.code = ""
        self.feed(html)
        self.close()
        assert self.open == [], "unclosed elements"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.code += data
        elif data.strip():
            self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page(run: Run) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def pictures(run: Run, kind: str, steps: list[int], pixels: Any = None) -> list[Path]:
    """Sheets of a kind, each of another shade, or all of the pixels given."""
    folder = run.folder / "samples"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{kind}-{step:08d}.png" for step in steps]
    for i, path in enumerate(paths):
        shade = np.full((64, 96, 3), 20 * i, np.uint8) if pixels is None else pixels
        if pixels is None or i == 0:
            Image.fromarray(shade).save(path)
        else:
            shutil.copy(paths[0], path)
    return paths


def image(uri: str) -> Image.Image:
    found = re.fullmatch(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", uri)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB")


def full(folder: Path, **changes: Any) -> Run:
    """A run with a bit of everything."""
    run = folders.build(folder, 10, 20, **changes)
    for step in range(1, 21):
        terms = {"encoder__kl": 20.0 / step, "encoder__gradient_norm": None if step == 3 else 1.0, "accuracy": 0.5}
        run.append(folders.tick(step, **terms, **({"valid__encoder__kl": 21.0 / step} if step % 10 == 0 else {})))
    for kind in ("samples", "reconstructions"):
        pictures(run, kind, [10, 20])
    run.record(10, {"mse": folders.figure(0.75)})
    recipe = {"extractor": "alex", "sha256": "dad556f1", "size": [64, 64], "warning": "too few images"}
    mse = folders.figure(0.5, std=0.125, recipe={"range": [-1, 1], "mean": "pixels"})
    fd = folders.figure(459.5568, recipe=recipe, parts={"pooled": 14.19, "identical": None})
    run.record(20, {"mse": mse, "fd-alex": fd})
    return run


# ---- what it says ----------------------------------------------------------------------------------------------------
def test_it_shows_samples_and_reconstructions_over_time(tmp_path: Path) -> None:
    run = full(tmp_path / "run")
    shown = page(run)
    assert "Samples" in shown.text
    assert "Reconstructions" in shown.text
    stage = {attributes["alt"]: attributes["src"] for attributes in shown.all("img") if attributes["alt"]}
    for kind in ("samples", "reconstructions"):
        for step in (10, 20):
            with Image.open(run.folder / "samples" / f"{kind}-{step:08d}.png") as drawn:
                told = image(stage[f"{kind.capitalize()} at step {step}"])
                assert np.array_equal(np.asarray(told), np.asarray(drawn))  # small enough to be kept to the bit
    radios = shown.all("input")
    assert Counter(radio["name"] for radio in radios if "checked" in radio) == {"samples": 1, "reconstructions": 1}
    assert [radio["id"] for radio in radios if "checked" in radio] == ["samples-20", "reconstructions-20"]
    assert {label["for"] for label in shown.all("label")} == {radio["id"] for radio in radios}


def test_it_shows_translations_whole_and_what_may_not_judge(tmp_path: Path) -> None:
    schema = {"A": [3, 32, 32], "B": [3, 32, 32]}
    run = folders.build(tmp_path / "run", 10, system="cyclegan", verbs=["translate"], schema=schema, classes=[])
    run.append(folders.tick(10))
    half = np.zeros((80, 80, 3), np.uint8)
    half[60:] = 255  # nothing of it in the corner that a grid's thumb shows
    pictures(run, "translations", [10], half)
    recipe = {"range": [0, 1], "not_a_judge": "the loss sees so", "warning": "too few"}
    parts = {"source": 9.0, "floor": 1.0}
    figures = {"fd-alex-BtoA": folders.figure(4.0, recipe=recipe, parts=parts), "cycle": folders.figure(0.25)}
    run.record(10, figures | {"miou": folders.figure(0.5)})
    shown = page(run)
    stage = {attributes["alt"]: attributes["src"] for attributes in shown.all("img") if attributes["alt"]}
    assert np.array_equal(np.asarray(image(stage["Translations at step 10"])), half)
    (reel,) = reels(run.folder / "samples", grids=True)
    assert np.asarray(image(reel.frames[0].thumb)).max() > 200
    assert "Images seen" in shown.text
    for words in ("not a judge: the loss sees so; too few", "source", "floor"):
        assert words in shown.text
    assert shown.text.count("lower is better") == 2
    assert shown.text.count("higher is better") == 1


def test_it_draws_curves_by_named_term(tmp_path: Path) -> None:
    shown = page(full(tmp_path / "run"))
    charts = {attributes["aria-label"].partition(":")[0] for attributes in shown.all("svg")}
    assert charts == {"encoder kl", "encoder gradient norm", "notes accuracy", "metrics mse", "speed images per second"}
    for attributes in shown.all("svg"):
        points = json.loads(attributes["data-points"], parse_constant=pytest.fail)
        assert points
        assert all(len(point) == 4 for point in points)
    (kl,) = [a for a in shown.all("svg") if a["aria-label"].startswith("encoder kl")]
    assert [(step, value) for _, _, step, value in json.loads(kl["data-points"])][:2] == [(1, "20"), (2, "10")]
    assert "1.05 held out" in shown.text


def test_it_tells_the_newest_figure_of_each_metric_with_its_recipe(tmp_path: Path) -> None:
    text = page(full(tmp_path / "run")).text
    for told in ("mse 0.5 ± 0.125 n = 100, step 20 lower is better Recipe range -1, 1 mean pixels",
                 "fd-alex 459.6 n = 100, step 20 lower is better too few images pooled 14.19 identical – Recipe",
                 "extractor alex sha256 dad556f1 size 64, 64"):  # fmt: skip
        assert told in text
    assert "0.75" not in text.partition("Curves")[0]  # what was measured at step 10


def test_figures_that_say_little_are_shown_all_the_same(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    run.record(5, {"fd-alex": {"value": None}, "of-tomorrow": {"value": 3, "recipe": None, "n": None}})
    text = page(run).text
    assert "fd-alex – step 5 lower is better" in text
    assert "of-tomorrow 3 step 5" in text


def test_it_tells_every_setting(tmp_path: Path) -> None:
    leaves = {"latent_loss": "nll", "lr": 2e-4, "xi": False, "clip": None, "betas": [0.5, 0.999], "width": 20_000}
    run = folders.build(tmp_path / "run", leaves=leaves, keep_best="mse", init="runs/other", git="abc123")
    text = page(run).text
    for told in ("latent loss nll", "lr 0.0002", "xi no", "clip –", "betas 0.5, 0.999", "width 20,000", "keep best mse",
                 "started from runs/other", "commit abc123", "fields image 1×32×32, label", "classes 0, 1, 2", "seed 0",
                 "torch 2.13.0", "fingerprint ffff", "batch size 16", "steps per epoch 5", "device cpu"):  # fmt: skip
        assert told in text
    assert all(command in text for command in run.commands())


def test_it_says_how_far_the_run_is_and_what_ails_it(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 10)
    run.append(folders.tick(15) | {"health": ["The critic wins.", "It explodes."]})
    shown = page(run)
    for told in ("Steps 15 of 30", "Images seen 240", "Trained for 0:02", "The critic wins.", "It explodes."):
        assert told in shown.text
    (bar,) = [attributes for _, attributes in shown.elements if attributes.get("role") == "progressbar"]
    assert (bar["aria-valuenow"], bar["aria-valuemax"]) == ("10", "30")
    folders.save(run, 30)
    run.append(folders.tick(30))
    shown = page(run)
    assert not [attributes for _, attributes in shown.elements if attributes.get("role") == "progressbar"]
    assert "Training looks healthy" in shown.text


def test_a_run_that_has_nothing_yet_gets_a_page_that_says_so(tmp_path: Path) -> None:
    shown = page(folders.build(tmp_path / "run"))
    for told in ("Nothing was measured yet", "No tick was logged yet", "Nothing was logged yet", "Steps 0 of 30"):
        assert told in shown.text
    assert shown.all("img") == []
    assert "What it makes" not in shown.text


def test_points_are_no_images(tmp_path: Path) -> None:
    """And a drawing of points is shown whole when small, where a grid of images shows its corner."""
    run = folders.build(tmp_path / "run", schema={"vector": [2]}, classes=[], data="mixture:ring8")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[32:] = 255
    pictures(run, "samples", [10], pixels)
    assert "Points seen" in page(run).text
    for grids, colours in ((False, 2), (True, 1)):
        (reel,) = reels(run.folder / "samples", grids=grids)
        thumb = np.asarray(image(reel.frames[0].thumb)).reshape(-1, 3)
        assert len(np.unique(thumb, axis=0)) == colours


# ---- what it needs and weighs ----------------------------------------------------------------------------------------
def test_it_needs_nothing_from_outside(tmp_path: Path) -> None:
    shown = page(full(tmp_path / "run"))
    tags = Counter(tag for tag, _ in shown.elements)
    assert not tags.keys() & {"link", "iframe", "object", "embed", "base", "video", "audio", "source", "a", "form"}
    for _, attributes in shown.elements:
        for name in ("src", "href", "srcset", "data", "action", "background", "poster", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?:|//\w|fetch|XMLHttp|import\(|WebSocket|sendBeacon", shown.code)
    assert tags["script"] == tags["style"] == 1
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_both_colour_schemes_define_the_same_colours(tmp_path: Path) -> None:
    code = page(folders.build(tmp_path / "run")).code
    light, dark = (
        set(re.findall(r"(--[\w-]+): #", block)) for block in re.split(r"@media \(prefers-color-scheme: dark\)", code)
    )
    used = set(re.findall(r"var\((--[\w-]+)\)", code)) - {
        "--dim",
        "--mono",
        "--sans",
        "--serif",
        "--hue",
        "--charts",
        "--column",
    }
    assert used <= light
    assert light == dark


def test_a_long_run_with_heavy_sheets_stays_a_light_page(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    noise = np.random.default_rng(0).integers(0, 256, (640, 1300, 3), dtype=np.uint8)
    pictures(run, "samples", list(range(10, 310, 10)), noise)
    rows = [folders.tick(step, a__x=1.0 + step % 7, a__gradient_norm=2.0, valid__a__x=3.0) for step in range(20_000)]
    (run.folder / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = page(run)
    frames = [int(radio["id"].rpartition("-")[2]) for radio in shown.all("input")]
    assert len(frames) == FRAMES
    assert (frames[0], frames[-1]) == (10, 300)
    gaps = np.diff(frames)
    assert gaps.max() - gaps.min() <= 20
    assert (run.folder / "report.html").stat().st_size < 3_000_000
    (newest,) = [a["src"] for a in shown.all("img") if a["alt"] == "Samples at step 300"]
    assert max(image(newest).size) == 1280


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    torn, whole = pictures(run, "samples", [10, 20])
    torn.write_bytes(torn.read_bytes()[:60])
    (whole.parent / "reconstructions-00000010.png").write_text("no picture")
    (whole.parent / "notes.png").write_text("no sheet")
    Image.new("LA", (8, 8)).save(whole.parent / "walks-00000010.png")
    (samples, walks) = reels(whole.parent, grids=True)
    assert [frame.step for frame in samples.frames] == [20]
    assert (walks.title, len(walks.frames)) == ("Walks", 1)
    assert len(page(run).all("input")) == 2


# ---- hostile words ---------------------------------------------------------------------------------------------------
HOSTILE = """x"'><script>alert(1)</script><img src=http://a.b/c onerror=alert(1)>&amp;{{ 7 * 7 }}</style></pre>"""


def test_words_are_never_markup(tmp_path: Path) -> None:
    """The same run with hostile words in every place has the same elements, and shows the words as they are."""
    pages = []
    for word in ("x", HOSTILE):
        run = full(tmp_path / str(len(word)) / word.replace("/", "∕"), data=word, leaves={word: word}, changed=[word],
                   classes=[word], git=word, preset=word, init=word, versions={word: word})  # fmt: skip
        run.append(
            folders.tick(25, **{f"{word}__y": 1.0, f"{word}__gradient_norm": 1.0, f"{word}__z": 3.0})
            | {"health": [word]}
        )
        run.record(20, {word: folders.figure(1.0, parts={word: 1.0}, recipe={word: word, "warning": word})})
        pages.append(page(run))
    plain, hostile = pages
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [sorted(a) for _, a in plain.elements]
    assert hostile.code == plain.code
    assert hostile.text.count(HOSTILE) >= 12


# ---- whole or not at all ---------------------------------------------------------------------------------------------
@contextmanager
def no_room() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_page_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    run = full(tmp_path / "run")
    before = write_report(run).read_bytes()
    with no_room(), pytest.raises(RunError, match=r"report\.html cannot be written: File too large; free some space"):
        write_report(run)
    assert (run.folder / "report.html").read_bytes() == before
    assert folders.hidden(run.folder) == []


def test_words_that_occur_are_explained_and_no_others(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 10)
    terms = {"critic/real": 0.5, "generators/cycle_A": 0.1, "generators/cycle_B": 0.1, "accuracy": 0.7}
    terms |= {"critic/gradient_norm": 1.0, "generators/gradient_norm": 1.0}
    for step in (5, 10):
        run.append({"step": step, "images": step, "seconds": float(step), "terms": terms})
    figure = folders.figure(0.5) | {"parts": {"pooled": 20.0, "identical": 0.0}}
    run.record(10, {"psnr": figure})
    page = Page(write_report(run).read_text())
    for word in ("real", "cycle", "accuracy", "pooled", "identical"):
        assert report.TERMS[word] in page.words
    for word in ("kl", "fool", "floor"):
        assert report.TERMS[word] not in page.words
    assert page.words.count("step") >= 3  # below every chart
