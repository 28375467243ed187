"""What statistics over many images cost beside the extractor alone: time and memory.

    python benchmarks/feature_pass.py [--images 50000] [--extractor alex|squeeze|inception] [--threads N] [--device D]

Random 32x32 images lie in a store, and nets have random weights: neither changes the speed. In each of ten rounds a
tenth of the images is (a) put through the bare extractor, from memory, resizing and normalising counted as its own, and
(b) measured as `ganvas evaluate` does, from the store to the statistics of a Fréchet distance, with the split between
reading, extracting and accumulating. Goal: (b) at no less than 0.95 of the throughput of (a), by the clock on the wall.
Then processes of their own measure a tenth of the images and all of them; goal: the same peak of memory, within 10 %.
Linux only, for /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ganvas.data import Dataset, open_data
from ganvas.figures import BATCH
from ganvas.memory import hold_memory
from ganvas.metrics import FrechetDistance, gather
from ganvas.metrics.extractors import Extractor, from_inception, from_stack
from ganvas.nets.features import FeatureStack
from ganvas.nets.inception import Inception
from memory import Peaks, write

ROUNDS = 10


def extractor(kind: str) -> Extractor:
    """The extractor over random weights that keep the scale of what goes through."""
    torch.manual_seed(0)
    net: Any = Inception() if kind == "inception" else FeatureStack(kind)
    for weight in net.parameters():
        if weight.ndim == 4:
            nn.init.kaiming_normal_(weight)
    net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return from_inception(net) if kind == "inception" else from_stack(net, "an untrained net")


class Clock:
    """Seconds by what they went into, until an accelerator is done."""

    def __init__(self, device: str) -> None:
        self.device, self.spent = device, {"reading": 0.0, "extracting": 0.0}

    def now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, what: str, work: Callable[[], Any]) -> Any:
        start = self.now()
        found = work()
        self.spent[what] += self.now() - start
        return found


class Timed(Extractor):
    """An extractor whose calls are timed."""

    clock: ClassVar[Clock]

    def __call__(self, x: Tensor) -> Tensor:
        return self.clock.timed("extracting", lambda: super(Timed, self).__call__(x))


def read(data: Dataset, rows: range, device: str) -> Iterator[Tensor]:
    for first in range(rows.start, rows.stop, BATCH):
        yield data.tensors(np.arange(first, min(first + BATCH, rows.stop)), device)["image"]


def timed(clock: Clock, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    while (batch := clock.timed("reading", lambda: next(batches, None))) is not None:
        yield batch


def compare(data: Dataset, kind: str, device: str) -> None:
    made, clock = extractor(kind), Clock(device)
    ratios, bare_seconds, all_seconds = [], 0.0, 0.0
    each = len(data) // ROUNDS
    for x in read(data, range(2 * BATCH), device):  # warm
        made(x)
    for i in range(ROUNDS):
        rows = range(i * each, (i + 1) * each)
        held = list(read(data, rows, device))
        start = clock.now()
        for x in held:
            made(x)
        bare = clock.now() - start
        del held
        start = clock.now()
        gather([FrechetDistance("fd", made)], read(data, rows, device))
        whole = clock.now() - start
        ratios.append(bare / whole)
        bare_seconds, all_seconds = bare_seconds + bare, all_seconds + whole
    n = each * ROUNDS
    print(f"{n:,} images of 32x32, {kind}, batches of {BATCH}, {torch.get_num_threads()} threads, {device}")
    print(f"bare extractor    {n / bare_seconds:9.1f} images/s")
    print(f"whole pass        {n / all_seconds:9.1f} images/s")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"  of the extractor's throughput: {statistics.median(ratios):.3f} ({spread}), goal: at least 0.95")
    Timed.clock = clock
    start = clock.now()
    gather([FrechetDistance("fd", Timed(**vars(made)))], timed(clock, read(data, range(2 * each), device)))
    total = clock.now() - start
    rest = total - sum(clock.spent.values())
    shares = [f"{what} {seconds / total:.2%}" for what, seconds in clock.spent.items()]
    print(f"  split of a pass of {2 * each:,}: {', '.join(shares)}, accumulating and the rest {rest / total:.2%}")


def peak(path: Path, n: int, kind: str, threads: int) -> float:
    """Peak of a process's own memory in MB while it measures ``n`` of the images."""
    child = subprocess.run(
        [
            *(sys.executable, __file__, "--peak", str(path), "--images", str(n)),
            *("--extractor", kind, "--threads", str(threads)),
        ],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(json.loads(child.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--extractor", choices=["alex", "squeeze", "inception"], default="alex")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # the child's part
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    hold_memory()
    if options.peak:
        data, made = open_data(options.peak), extractor(options.extractor)
        with Peaks() as peaks:
            gather([FrechetDistance("fd", made)], read(data, range(options.images), "cpu"))
        print(peaks.own)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GANVAS_CACHE"] = folder
        path = Path(folder) / "images.npy"
        write(path, options.images, 0)
        compare(open_data(str(path)), options.extractor, options.device)
        counts = options.images // 10, options.images
        peaks = [peak(path, n, options.extractor, options.threads) for n in counts]
    told = ", ".join(f"{n:,} images {own:.0f} MB" for n, own in zip(counts, peaks, strict=True))
    print(f"peak of own memory: {told}: {peaks[1] / peaks[0]:.2f} times (goal: below 1.10)")


if __name__ == "__main__":
    main()
