"""Trains every system on CIFAR-10 for some minutes each and writes the page of results: docs/results/cifar10.md.

    python benchmarks/cifar10_page.py CIFAR10 [--minutes 6] [--runs runs/cifar10] [--out docs/results]

CIFAR10 is a data spec of the set (a folder with train.npz and test.npz, or with the original binary files). Runs that
are there already are not trained again: after a kill the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ganvas
from ganvas.data import open_data
from ganvas.ops.sheet import save_sheet
from ganvas.run import Run
from results import ganvas_command, hardware

# What two cores do in six minutes (steps), so that learning rates decay within them; --minutes bounds it all the same.
SYSTEMS = {"autoencoder": 8_000, "vae": 9_000, "avae": 2_500, "gan": 3_500, "dcgan": 5_800}
THUMBNAILS = 16
METRICS = ("mse", "psnr", "ssim", "lpips-alex", "lpips-squeeze", "fd-alex", "fd-squeeze")


def train(system: str, data: str, minutes: float, folder: Path) -> list[str]:
    """Trains for ``minutes`` of the loop's own time, however often it was interrupted; returns the command."""
    command = ["train", system, "--data", data, "--preset", "small", "--steps", str(SYSTEMS[system])]
    command += ["--checkpoint-every", "1000", "--out", str(folder)]
    done = Run.open(folder).stats()[-1]["seconds"] / 60 if Run.exists(folder) and Run.open(folder).stats() else 0.0
    if done < 0.98 * minutes:
        ganvas_command(*command, "--minutes", f"{minutes - done:.3g}")
    return [*command, "--minutes", f"{minutes:g}"]


def figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--runs", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()

    rows: list[dict[str, Any]] = []
    originals = open_data(options.data).part("test").tensors(np.arange(THUMBNAILS))["image"]
    strips, names = [originals], ["original"]
    for system in SYSTEMS:
        folder = options.runs / system
        command = train(system, options.data, options.minutes, folder)
        metrics = json.loads(ganvas_command("evaluate", str(folder), "--json"))["metrics"]
        game = ganvas.load(folder)
        run = Run.open(folder)
        if "sample" in run.config.verbs:
            save_sheet(game.sample(64, seed=0), options.out / f"cifar10-{system}-samples.png", columns=16)
        if "reconstruct" in run.config.verbs:
            strips.append(game.reconstruct(originals))
            names.append(system)
        rows.append({"system": system, "command": command, "metrics": metrics, "last": run.stats()[-1]})
    save_sheet(torch.cat(strips), options.out / "cifar10-reconstructions.png", columns=THUMBNAILS)
    write(options, rows, names)


def write(options: argparse.Namespace, rows: list[dict[str, Any]], names: list[str]) -> None:
    lines = [
        f"# CIFAR-10, {options.minutes:g} minutes a system",
        "",
        f"Preset `small`, seed 0, one run each. {hardware()} One seed and a few minutes on a CPU show that "
        "everything works, not which system is better.",
        "",
        "| system | steps | " + " | ".join(METRICS) + " |",
        "|---|---|" + "---|" * len(METRICS),
    ]
    for row in rows:
        cells = [
            figure(row["metrics"].get(name, {}).get("value"), 4 if name in ("mse", "ssim") else 3) for name in METRICS
        ]
        lines.append(f"| `{row['system']}` | {row['last']['step']:,} | " + " | ".join(cells) + " |")
    lines += ["", "What each number is (the recipe that the command prints):", ""]
    recipes = {name: found for row in rows for name, found in row["metrics"].items() if name in METRICS}
    for name, found in recipes.items():
        recipe = ", ".join(f"{key}: {value}" for key, value in found["recipe"].items())
        lines.append(f"- `{name}`, N = {found['n']:,}: {recipe}")
    lines += ["", "## Reconstructions", "", f"Test images 0-{THUMBNAILS - 1}. Rows: {', '.join(names)}.", "",
              "![reconstructions](cifar10-reconstructions.png)", "", "## Samples", ""]  # fmt: skip
    for row in rows:
        if (options.out / f"cifar10-{row['system']}-samples.png").exists():
            lines += [f"`{row['system']}`, seed 0, averaged weights:", "",
                      f"![{row['system']}](cifar10-{row['system']}-samples.png)", ""]  # fmt: skip
    lines += [
        "## Commands",
        "",
        "```sh",
        f"python benchmarks/cifar10_page.py CIFAR10 --minutes {options.minutes:g}   # runs:",
    ]
    lines += ["ganvas " + " ".join(part.replace(options.data, "CIFAR10") for part in row["command"]) for row in rows]
    lines += ["ganvas evaluate RUN", "```", ""]
    (options.out / "cifar10.md").write_text("\n".join(lines))
    print(options.out / "cifar10.md")


if __name__ == "__main__":
    main()
