"""Whether streaming keeps training fed: CIFAR-sized PNGs in Parquet, batches of 64, beside the same set in the store.

    python benchmarks/streaming.py [--images N] [--steps N] [--pace STEPS]

The feed alone is timed first. Then a loop trains a net that takes about as long as the pace says, with batches from the
store and from the stream in turn: what the stream costs is the ratio of the medians, and how long a step waited for
its batch. PNGs are crops of scikit-image's photographs at 32x32.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ganvas.data import Batches, open_data

BATCH, ROUNDS, GROUP = 64, 3, 100


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, n: int) -> None:
    """n pictures in five files, laid out as on the Hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    photos = open_data("photos?size=32&limit=4096")
    pngs = [encoded(pixels) for pixels in photos.pixels(np.arange(len(photos)))]
    for file in range(5):
        some = [pngs[i % len(pngs)] for i in range(file, n, 5)]
        rows = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(some)]
        labels = [i % 10 for i in range(len(rows))]
        name = f"train-{file:05d}-of-00005.parquet"
        pq.write_table(pa.table({"image": rows, "label": labels}), folder / name, row_group_size=GROUP)


def net(width: int) -> nn.Module:
    """Convolutions whose width sets the pace."""
    layers: list[nn.Module] = []
    for i, c in enumerate((3, width, width, width)):
        layers += [nn.Conv2d(c, width, 3, padding=1, stride=2 if i in (1, 3) else 1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10))


def train(batches: Batches, width: int, steps: int) -> tuple[float, float]:
    """Seconds a step takes, and of these what it waits for its batch: medians, once warm."""
    torch.manual_seed(0)
    model = net(width)
    model(batches(0)["image"])
    optimiser = torch.optim.Adam(model.parameters())
    took, waited = [], []
    for step in range(1, steps + 1):
        start = time.perf_counter()
        batch = batches(step)
        waited.append(time.perf_counter() - start)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(batch["image"]), batch["label"]).backward()
        optimiser.step()
        took.append(time.perf_counter() - start)
    return statistics.median(took[5:]), statistics.mean(waited[5:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pace", type=float, default=20, help="steps a second of the loop")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.images)
        stream, store = f"{folder}?stream=true", folder
        batches = Batches(open_data(stream), BATCH, seed=0)
        start, cpu = time.perf_counter(), time.process_time()
        batches(0)
        first = time.perf_counter() - start
        for step in range(1, given.steps + 1):
            batches(step)
        whole, cpu = time.perf_counter() - start - first, time.process_time() - cpu
        print(f"{given.images} PNGs of 32x32, batches of {BATCH}, {torch.get_num_threads()} threads of torch")
        print(f"the first batch          {first:8.3f} s (a window is read)")
        per_image = 1e6 * cpu / BATCH / given.steps
        print(f"the feed alone           {given.steps / whole:8.1f} steps/s, {per_image:.0f} us CPU an image")
        width = 8
        while train(Batches(open_data(store), BATCH, seed=0), width, 12)[0] < 1 / given.pace:
            width += 8
        found: dict[str, list[tuple[float, float]]] = {"store": [], "stream": []}
        for _ in range(ROUNDS):
            for name, spec in (("store", store), ("stream", stream)):
                found[name].append(train(Batches(open_data(spec), BATCH, seed=0), width, given.steps))
        for name, rounds in found.items():
            step, waited = (statistics.median(values) for values in zip(*rounds, strict=True))
            print(f"training, from the {name:<6}{1 / step:8.1f} steps/s, {1e3 * waited:.2f} ms a step spent waiting")
        ratios = [a[0] / b[0] for a, b in zip(found["store"], found["stream"], strict=True)]
        print(f"  stream / store         {statistics.median(ratios):8.2f} of the steps/s")


if __name__ == "__main__":
    main()
