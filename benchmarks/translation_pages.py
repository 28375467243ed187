"""Trains pix2pixHD, pix2pix, L1 alone and CycleGAN for twenty minutes each and writes docs/results/camvid.md and
docs/results/cyclegan.md.

    python benchmarks/translation_pages.py DATA [--minutes 20] [--runs runs/translation] [--out docs/results]
                                                [--threads 2] [--only camvid|cyclegan] [--train NAME]

DATA is a folder with camvid/ ({train,test}_{label,img}), apple2orange/ and bedroom2kitchen/ (trainA trainB testA
testB). Runs that are there already are not trained again: after a kill the same command goes on. ``--train NAME``
trains that run alone and writes no page, so that several may train side by side; threads are those of each training.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ganvas
from ganvas.data import open_data
from ganvas.data.dataset import Dataset
from ganvas.ops.maps import coloured
from ganvas.ops.sheet import save_image, strips
from ganvas.run import Run
from results import ganvas_command, hardware

WINDOWS = "?scale_width=341&crop=256&flip=true"  # 320x240 to a shorter side of 256, random windows


@dataclass(frozen=True)
class Training:
    """One run: its system, its data and what else the command says. Steps are what the time was enough for, so that
    the learning rate decays within them."""

    system: str
    data: str
    steps: int
    more: tuple[str, ...] = ()


HD_STEPS = 2_800
TRAININGS = {
    "pix2pixhd": Training("pix2pixhd", f"camvid{WINDOWS}", HD_STEPS),
    "l1": Training("pix2pix", f"camvid{WINDOWS}", HD_STEPS, ("--adversarial", "0")),
    "pix2pix": Training("pix2pix", f"camvid{WINDOWS}", 1_500),
    "apple2orange": Training("cyclegan", "apple2orange?flip=true", 5_000),
    "bedroom2kitchen": Training("cyclegan", "bedroom2kitchen?size=64&flip=true", 4_500),
}
CAMVID = {"pix2pixhd": "pix2pixHD", "pix2pix": "pix2pix", "l1": "L1 alone"}
UNPAIRED = {"apple2orange": ("apples", "oranges"), "bedroom2kitchen": ("bedrooms", "kitchens")}
METRICS = ("lpips-squeeze", "fd-squeeze", "lpips-alex", "fd-alex", "psnr", "ssim")
JUDGES = ("lpips-squeeze", "fd-squeeze")  # the loss of pix2pixHD looks through alex here
BAR = 0.3  # the part of the way from source to floor that a translation must have come
COLUMNS = 4
SHOWN = 4  # of each side of unpaired data: a page shows 16 pictures of others at most
SIDE = 128  # pixels that small pictures are enlarged to


@dataclass(frozen=True)
class Options:
    data: Path
    minutes: float
    runs: Path
    out: Path
    threads: int
    only: str | None
    train: str | None


# ---- training --------------------------------------------------------------------------------------------------------
def command(name: str, options: Options) -> list[str]:
    """The command that trains a run."""
    it = TRAININGS[name]
    words = ["train", it.system, "--data", f"{options.data}/{it.data}", "--preset", "small", "--steps", str(it.steps)]
    return [*words, *it.more, "--checkpoint-every", "500", "--out", str(options.runs / name)]


def train(name: str, options: Options) -> None:
    """Trains for what is left of ``minutes`` of the loop's own time, however often it was interrupted."""
    folder = options.runs / name
    rows = Run.open(folder).stats() if Run.exists(folder) else []
    left = options.minutes - (rows[-1]["seconds"] / 60 if rows else 0.0)
    if left > 0.02 * options.minutes and not (rows and rows[-1]["step"] >= TRAININGS[name].steps):
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        ganvas_command(*command(name, options), "--minutes", f"{left:.3g}")


def told(names: Sequence[str], options: Options) -> list[str]:
    """The commands of these runs as a page shows them, and a table of how long they took."""
    lines = ["| run | steps | minutes of training | batch | weights, millions |", "|---|---|---|---|---|"]
    for name in names:
        run = Run.open(options.runs / name)
        last = run.stats()[-1]
        size = sum(weight.numel() for weight in run.load_game(raw=True).parameters()) / 1e6
        lines.append(
            f"| `{name}` | {last['step']:,} of {run.config.steps:,} | {last['seconds'] / 60:.1f} "
            f"| {run.config.batch_size} | {size:.1f} |"
        )
    lines += ["", "```sh", f"python benchmarks/translation_pages.py DATA --minutes {options.minutes:g}   # runs:"]
    for name in names:
        words = " ".join(command(name, options)).replace(str(options.data), "DATA")
        lines.append(f"OMP_NUM_THREADS={options.threads} ganvas {words} --minutes {options.minutes:g}")
    return [*lines, "```", ""]


def evaluated(name: str, options: Options, *words: str) -> dict[str, Any]:
    """The figures of a run, as the command gives them."""
    found: dict[str, Any] = json.loads(ganvas_command("evaluate", str(options.runs / name), "--json", *words))[
        "metrics"
    ]
    return found


def recipes(found: dict[str, Any]) -> list[str]:
    """A line a metric: what the command prints beside its value."""
    lines = []
    for name, figure in found.items():
        recipe = ", ".join(f"{key}: {value}" for key, value in figure["recipe"].items() if key not in ("run", "data"))
        lines.append(f"- `{name}`, N = {figure['n']:,}: {recipe}")
    return lines


# ---- label maps to photographs ---------------------------------------------------------------------------------------
def camvid(options: Options) -> None:
    """Writes camvid.md and its sheets."""
    dataset = open_data(f"{options.data}/camvid{WINDOWS}", prefer=("labels",)).part("test")
    rows = dataset.spread(COLUMNS)
    batch = dataset.tensors(rows)
    sheet: dict[str, Any] = {"input": coloured(batch["labels"].numpy())}
    figures = {}
    for name, title in CAMVID.items():
        figures[name] = evaluated(name, options, "--metrics", ",".join(METRICS))
        sheet[title] = ganvas.load(options.runs / name).translate(batch["labels"], seed=0)
    sheet["real"] = batch["image"]
    save_image(strips(sheet), options.out / "camvid-translations.jpg")
    label = f"{options.data}/camvid/test_label/{Path(dataset.names(rows[:1])[0]).name}"
    ganvas_command("edit", str(options.runs / "pix2pixhd"), label, "--class", "8", "--to", "1",
                   "--out", str(options.out / "camvid-edited.jpg"))  # fmt: skip
    ganvas_command("translate", str(options.runs / "pix2pixhd"), label, "-n", "3",
                   "--out", str(options.out / "camvid-styles.jpg"))  # fmt: skip
    perceptual = Run.open(options.runs / "pix2pixhd").config.leaves["perceptual"]

    lines = [
        "# CamVid: label maps to street scenes",
        "",
        f"Preset `small`, seed 0, one run each, {options.minutes:g} minutes of training at most on {options.threads} "
        f"thread(s). {hardware()} 367 pictures of 320x240 to learn from, 101 to measure on: scaled to a shorter side "
        "of 256, random 256x256 windows in training, the centred one when measured. "
        f"pix2pixHD learns by a perceptual distance in `{perceptual}`: a metric in the same features is no judge of it "
        "and is marked *. L1 alone is `pix2pix --adversarial 0`, for as many steps as pix2pixHD.",
        "",
        "| run | " + " | ".join(f"{name}{'*' if perceptual in name else ''}" for name in METRICS) + " |",
        "|---|" + "---|" * len(METRICS),
    ]
    for name, title in CAMVID.items():
        lines.append(f"| {title} | " + " | ".join(f"{figures[name][m]['value']:.4g}" for m in METRICS) + " |")
    lines.append("")
    for metric in JUDGES:
        ours, bar = figures["pix2pixhd"][metric]["value"], figures["l1"][metric]["value"]
        lines.append(f"- Bar: pix2pixHD's {metric} below L1 alone: {ours:.4g} against {bar:.4g}, "
                     f"**{'reached' if ours < bar else 'not reached'}**.")  # fmt: skip
    lines += ["", "Four test pictures, spread evenly over the set; styles by seed 0:", "",
              "![input, translations, real](camvid-translations.jpg)", "",
              "A label map, what pix2pixHD makes of it, the map with its cars (8) made buildings (1), and what it "
              "makes of that (`ganvas edit RUN MAP --class 8 --to 1 --out FILE.jpg`):", "",
              "![an edited map](camvid-edited.jpg)", "",
              "One label map in three styles (`ganvas translate RUN MAP -n 3 --out FILE.jpg`):", "",
              "![styles of one map](camvid-styles.jpg)", "", "## How", "", *told(list(CAMVID), options)]  # fmt: skip
    lines += ["What each number is:", "", *recipes(figures["pix2pixhd"]), ""]
    (options.out / "camvid.md").write_text("\n".join(lines))
    print(options.out / "camvid.md")


# ---- unpaired pictures -----------------------------------------------------------------------------------------------
def cyclegan(options: Options) -> None:
    """Writes cyclegan.md and its sheets."""
    lines = [
        "# CycleGAN in twenty minutes",
        "",
        f"Preset `small`, seed 0, one run each, {options.minutes:g} minutes of training at most on {options.threads} "
        f"thread(s). {hardware()} With B1 and B2 seeded halves of trainB and one N for all: source is fd-alex(A, B1), "
        "translated fd-alex(G(A), B1), floor fd-alex(B2, B1). Every N here is below the 256 dimensions of the features "
        "(D): compare only values of one N.",
        "",
        "| data | split | direction | N | source | translated | floor | bar | reached | cycle error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    said: dict[str, Any] = {}
    for name in UNPAIRED:
        for split in ("train", "test"):
            spec = f"{options.data}/{TRAININGS[name].data}&split={split}"
            found = evaluated(name, options, "--data", spec, "--metrics", "fd-alex,cycle")
            said = said or found
            for suffix, direction in (("", "A to B"), ("-BtoA", "B to A")):
                figure, cycle = found[f"fd-alex{suffix}"], found[f"cycle{suffix}"]["value"]
                source, floor = figure["parts"]["source"], figure["parts"]["floor"]
                bar = source - BAR * (source - floor)
                reached = "yes" if figure["value"] <= bar else "**no**"
                verdict = f"{bar:.1f} | {reached}" if split == "train" and not suffix else "- | -"
                lines.append(f"| {name} | {split} | {direction} | {figure['n']} | {source:.1f} | {figure['value']:.1f} "
                             f"| {floor:.1f} | {verdict} | {cycle:.4f} |")  # fmt: skip
        pictures(name, options)
    lines += ["", f"The bar, set for A to B on the training pictures, is source - {BAR:g} (source - floor). The cycle "
              "error is the mean absolute error of pixels in [0, 1] after there and back.", ""]  # fmt: skip
    for name, (a, b) in UNPAIRED.items():
        lines += [f"## {name}", "", f"Test {a}, made {b}, and back; test {b}, made {a}, and back:", "",
                  f"![{name}](cyclegan-{name}.jpg)", ""]  # fmt: skip
    lines += ["## How", "", *told(list(UNPAIRED), options), "What each number is:", "", *recipes(said), ""]
    (options.out / "cyclegan.md").write_text("\n".join(lines))
    print(options.out / "cyclegan.md")


def pictures(name: str, options: Options) -> None:
    """The sheet of one run: both directions with the cycle back."""
    dataset = open_data(f"{options.data}/{TRAININGS[name].data}", prefer=("unpaired",)).part("test")
    game = ganvas.load(options.runs / name)
    sheet: dict[str, Tensor] = {}
    for side, there, back in (("A", "AtoB", "BtoA"), ("B", "BtoA", "AtoB")):
        other: Dataset = dataset.domain(side)
        x = other.tensors(other.spread(SHOWN))["image"]
        y = game.translate(x, direction=there)
        sheet |= {side: x, there: y, f"{side} again": game.translate(y, direction=back)}
    save_image(strips(sheet, scale=SIDE // x.shape[-1]), options.out / f"cyclegan-{name}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--runs", type=Path, default=Path("runs/translation"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("camvid", "cyclegan"))
    parser.add_argument("--train", choices=tuple(TRAININGS))
    options = Options(**vars(parser.parse_args()))
    if options.train is not None:
        train(options.train, options)
        return
    torch.set_num_threads(options.threads)
    for names, page, called in ((CAMVID, camvid, "camvid"), (UNPAIRED, cyclegan, "cyclegan")):
        if options.only in (None, called):
            for name in names:
                train(name, options)
            page(options)


if __name__ == "__main__":
    main()
