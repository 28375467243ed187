"""What the store gains: batches from it against decoding a folder of PNGs per item, and what building it costs.

    python benchmarks/store.py [--images N] [--side PIXELS] [--data FOLDER]

Pictures are crops of scikit-image's photographs, written as PNGs into a temporary folder, or those of FOLDER. Both
sides give float32 [64, 3, H, W] in [-1, 1]. Ratios are of CPU seconds (of all threads) in this one run, interleaved.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganvas.data import Batches, Order, open_data
from ganvas.memory import hold_memory

BATCH, ROUNDS = 64, 5


def decoded(path: Path) -> np.ndarray:
    """One item, as a plain loader would read it."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def items(paths: list[Path]) -> Tensor:
    """A batch, decoded item by item."""
    return torch.stack([torch.from_numpy(decoded(path).copy()).permute(2, 0, 1).float() / 127.5 - 1 for path in paths])


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a piece of work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def play(batch: Callable[[int], object], steps: int) -> None:
    """Makes batches and lets each go before the next, as training does."""
    for step in range(steps):
        batch(step)


def write_pngs(folder: Path, n: int, side: int) -> None:
    photos = open_data(f"photos?size={side}&limit={n}")
    for i, pixels in enumerate(photos.pixels(np.arange(len(photos)))):
        Image.fromarray(pixels).save(folder / f"{i:05d}.png")


def measure(folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    pass_cpu, pass_wall, build_cpu, build_wall = [], [], [], []
    for i in range(ROUNDS):
        for path in paths:  # a new time of writing is a new store
            os.utime(path, (i, i))
        cpu, wall = clocked(lambda: [decoded(path) for path in paths])
        pass_cpu.append(cpu), pass_wall.append(wall)
        cpu, wall = clocked(lambda: open_data(str(folder)))
        build_cpu.append(cpu), build_wall.append(wall)
    per_image = 1e6 / len(paths)
    print(f"{len(paths)} PNGs of {open_data(str(folder)).schema['image'][1:]} (H, W), batches of {BATCH}")
    print(f"one decode pass        {statistics.median(pass_cpu) * per_image:8.1f} us CPU an image")
    print(f"building the store     {statistics.median(build_cpu) * per_image:8.1f} us CPU an image")
    of_time, of_cpu = (
        statistics.median(built / decoding for built, decoding in zip(*pair, strict=True))
        for pair in ((build_wall, pass_wall), (build_cpu, pass_cpu))
    )
    print(f"  building / one pass  {of_time:8.2f} of the time, {of_cpu:.2f} of the CPU seconds")

    batches, order = Batches(open_data(str(folder)), BATCH, seed=0), Order(len(paths), BATCH, 0)
    steps = max(1, min(20, len(paths) // BATCH))
    many = 20 * steps
    assert torch.allclose(batches(0)["image"], items([paths[row] for row in order.rows(0)]), atol=1e-6)
    gains, stored = [], []
    for _ in range(ROUNDS):
        item, _ = clocked(lambda: play(lambda step: items([paths[row] for row in order.rows(step)]), steps))
        store, _ = clocked(lambda: play(batches, many))
        stored.append(store / many / BATCH * 1e6)
        gains.append((item / steps) / (store / many))
    print(f"batches from the store {statistics.median(stored):8.1f} us CPU an image")
    gain = f"{statistics.median(gains):.1f}x ({min(gains):.1f} to {max(gains):.1f})"
    print(f"  images per CPU-second, store / decoding per item: {gain}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    hold_memory()  # as training does; both sides gain
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["GANVAS_CACHE"] = f"{scratch}/cache"
        folder = options.data or Path(scratch) / "pngs"
        if options.data is None:
            folder.mkdir()
            write_pngs(folder, options.images, options.side)
        measure(folder)


if __name__ == "__main__":
    main()
