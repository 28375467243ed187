"""The memory of a comparison does not grow with the number of images.

    python benchmarks/memory.py [--counts 5000 50000] [--metrics fd-digits mse psnr ssim]

Each count gets a process of its own, which opens two sets of random 32x32 images through the store and measures one
against the other. Printed are the peaks of resident memory: all of it, and what is the process's own. (The rest are
pages of the memory-mapped store, which the kernel takes back whenever it wants them.) Goal: the same at both counts,
within 10 %. Linux only, for /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


class Peaks:
    """Peaks of this process's resident memory in MB, looked at 100 times a second while the block runs."""

    def __enter__(self) -> Peaks:
        self.all = self.own = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            status = Path("/proc/self/status").read_text()
            kilobytes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
            total = sum(float(value) for value in kilobytes.values())
            self.all = max(self.all, total / 1e3)
            self.own = max(self.own, float(kilobytes["RssAnon"]) / 1e3)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def write(path: Path, n: int, seed: int) -> None:
    """Random images uint8 [n, 32, 32, 3], written without ever being whole in memory."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 32, 32, 3))
    generator = np.random.default_rng(seed)
    for start in range(0, n, 1000):
        array[start : start + 1000] = generator.integers(0, 256, array[start : start + 1000].shape, dtype=np.uint8)


def compare(a: str, b: str, names: list[str]) -> dict[str, float]:
    """The metrics of one set against the other, as `ganvas compare` has them."""
    import torch

    import ganvas

    torch.set_num_threads(1)
    return {name: figure.value for name, figure in ganvas.compare(a, b, metrics=names, device="cpu").items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs=2, default=[5_000, 50_000])
    parser.add_argument("--metrics", nargs="+", default=["fd-digits", "mse", "psnr", "ssim"])
    parser.add_argument("--sets", nargs=2, help=argparse.SUPPRESS)  # the child's part
    options = parser.parse_args()
    if options.sets:
        with Peaks() as peaks:
            values = compare(*options.sets, options.metrics)
        print(json.dumps({"all": peaks.all, "own": peaks.own, "values": values}))
        return
    found = []
    for n in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            sets = [Path(folder) / f"{side}.npy" for side in "ab"]
            for seed, path in enumerate(sets):
                write(path, n, seed)
            start = time.monotonic()
            child = subprocess.run(
                [sys.executable, __file__, "--metrics", *options.metrics, "--sets", *map(str, sets)],
                env={**os.environ, "GANVAS_CACHE": folder},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            found.append(json.loads(child.stdout))
        values = ", ".join(f"{name} {value:.4g}" for name, value in found[-1]["values"].items())
        print(
            f"{n:>7,} images a side: peak {found[-1]['own']:.0f} MB of its own, {found[-1]['all']:.0f} MB with mapped "
            f"files, {time.monotonic() - start:.0f} s ({values})"
        )
    ratio = found[1]["own"] / found[0]["own"]
    print(f"memory at {options.counts[1] / options.counts[0]:g} times the images: {ratio:.2f} times (goal: below 1.10)")


if __name__ == "__main__":
    main()
