"""Steps of CycleGAN and pix2pixHD against the same nets in the order of their authors' code.

    GANVAS_WEIGHTS=... python benchmarks/translation_step.py [--systems cyclegan pix2pixhd] [--rounds 10] [--width 64]

``ours`` is the engine's round; ``original`` is `translation_originals.py`: contiguous, a pass of its own for a picture,
PyTorch's plain Adam. cyclegan: 128x128, ResNet-9, batch 1, pools full. pix2pixhd: 512x256, 35 classes with instances,
the local enhancer in its last stage, critics at two scales, the perceptual loss by AlexNet (whose weights must be at
hand). Widths are the published ones unless --width says otherwise.

Both start from the same weights in one process and take turns, so that a busy machine hurts them alike; ratios are
medians over pairs. It is proved first, in small and in float64, that they compute the same. Peak memory is that of
processes of their own, which do nothing but three steps. Where the time goes is measured in two more steps of each: by
phase with a clock, by kind of operation with PyTorch's profiler. Printed as tables in Markdown.

Goals: ours no slower (aim 1.1x), and no more memory than the original.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import translation_originals as originals
from ganvas import games
from ganvas.engine import Engine
from ganvas.game import Game
from ganvas.memory import hold_memory
from ganvas.nets.features import published
from ganvas.schema import Schema

SYSTEMS = {"cyclegan": (128, 128), "pix2pixhd": (512, 256)}  # width and height
CLASSES, SCALES = 35, 2
TITLES = {"generators": ("G_A", "G_B", "G"), "critics": ("D_A", "D_B", "D")}
KINDS = {  # by the beginning of an operation's name
    "convolutions, forward": ("mkldnn_convolution", "_convolution", "convolution", "slow_conv", "thnn_conv", "conv"),
    "convolutions, backward": ("convolution_backward",),
    "norms": (
        "native_batch_norm",
        "_batch_norm",
        "batch_norm",
        "instance_norm",
        "mean",
        "square",
        "rsqrt",
        "sub",
        "pow",
        "_Normalised",
    ),
    "padding": ("reflection_pad", "_Mirrored", "avg_pool"),
    "activations": ("relu", "leaky_relu", "threshold", "clamp_min", "tanh"),
    "optimiser": ("_fused_adam", "lerp", "addcdiv", "addcmul", "sqrt", "linalg_vector_norm"),
    "copies": ("copy_", "cat", "clone", "fill_", "zero_", "slice_backward", "contiguous"),
}


@dataclass
class Rivals:
    """One system twice, with the same weights: a step of each, and its nets by name."""

    game: Game
    ours: Callable[[], object]
    original: Callable[[], object]
    port: dict[str, nn.Module]


def pictures(n: int, width: int, height: int, dtype: torch.dtype) -> list[Tensor]:
    return [torch.rand(1, 3, height, width, dtype=dtype) * 2 - 1 for _ in range(n)]


def cyclegan(width: int, size: tuple[int, int], dtype: torch.dtype, *, small: bool) -> Rivals:
    blocks, shape = 2 if small else 9, (3, size[1], size[0])
    game = games.system("cyclegan").build(
        {"width": width, "critic_width": width, "blocks": blocks}, Schema({"A": shape, "B": shape})
    )
    port: dict[str, nn.Module] = {
        **{name: originals.ResnetGenerator(3, 3, width, blocks) for name in ("G_A", "G_B")},
        **{name: originals.PatchDiscriminator(3, width) for name in ("D_A", "D_B")},
    }
    engine = matched(game, port, dtype)
    original = originals.CycleGAN(**port)
    A, B = pictures(2, *size, dtype)
    if not small:  # the state of all but the first steps
        for ours, theirs in ((game.pool_A, original.pool_B), (game.pool_B, original.pool_A)):
            ours.held.fill_(ours.size)
            theirs.images = pictures(theirs.size, *size, dtype)
    return Rivals(game, lambda: engine.step({"A": A, "B": B}), lambda: original.step(A, B), port)


def pix2pixhd(width: int, size: tuple[int, int], dtype: torch.dtype, *, small: bool) -> Rivals:
    depth, shape = (2, 1, 1) if small else (4, 9, 3), (size[1], size[0])
    leaves = {
        "width": width, "critic_width": width, "downs": depth[0], "blocks": depth[1], "local_blocks": depth[2],
        "encoder": False, "scales": SCALES, "coarse": 0.0, "fixed": 0.0, "perceptual": "none" if small else "alex",
    }  # fmt: skip
    schema = Schema({"labels": shape, "instances": shape, "image": (3, *shape)}, tuple(map(str, range(CLASSES))))
    game = games.system("pix2pixhd").build(leaves, schema)
    port: dict[str, nn.Module] = {
        "G": originals.LocalEnhancer(CLASSES + 1, 3, width // 2, depth[0], depth[1], 1, depth[2]),
        "D": originals.MultiscaleDiscriminator(CLASSES + 4, width, 3, SCALES),
    }
    engine = matched(game, port, dtype)
    alex = None if small else published("alex").to(memory_format=torch.contiguous_format)
    original = originals.Pix2PixHD(**port, classes=CLASSES, perceptual=alex, weights=(0.2,) * 5)
    (image,) = pictures(1, *size, dtype)
    blocks = torch.randint(0, CLASSES, (1, shape[0] // 16, shape[1] // 16))
    labels = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)
    batch = {"labels": labels, "instances": labels.to(torch.int32), "image": image}
    return Rivals(game, lambda: engine.step(batch), lambda: original.step(labels, batch["instances"], image), port)


def matched(game: Game, port: dict[str, nn.Module], dtype: torch.dtype) -> Engine:
    for name, net in port.items():
        net.to(dtype).load_state_dict(getattr(game, name).state_dict())
    return Engine(game.to(dtype), total_steps=1_000_000)


def build(system: str, width: int, *, small: bool = False) -> Rivals:
    torch.manual_seed(0)
    make = {"cyclegan": cyclegan, "pix2pixhd": pix2pixhd}[system]
    return make(width, (64, 32) if small else SYSTEMS[system], torch.float64 if small else torch.float32, small=small)


def prove(system: str) -> float:
    """The largest difference of any weight after three steps of both, in small and in float64."""
    rivals = build(system, 4, small=True)
    for _ in range(3):
        rivals.ours()
        rivals.original()
    return max(
        (a - b).abs().max().item()
        for name, net in rivals.port.items()
        for a, b in zip(getattr(rivals.game, name).parameters(), net.parameters(), strict=True)
        if b.ndim > 1  # a bias before an instance norm has no effect, and the original moves it by rounding errors
    )


# ---- where the time goes ---------------------------------------------------------------------------------------------
@contextmanager
def phases(nets: dict[str, nn.Module], found: Counter[str]) -> Iterator[None]:
    """Adds up seconds by phase: forward by the kind of net, the first backward of a step and the others, optimisers."""
    started: list[float] = []
    handles: list[Any] = []

    def begin(*_: object) -> None:
        started.append(time.perf_counter())

    def end(name: str) -> Callable[..., None]:
        def ended(*_: object) -> None:
            found[name] += time.perf_counter() - started.pop()  # type: ignore[assignment]

        return ended

    for title, names in TITLES.items():
        for name in names:
            if name in nets:
                handles.append(nets[name].register_forward_pre_hook(begin))
                handles.append(nets[name].register_forward_hook(end(f"{title}, forward")))
    handles += [register_optimizer_step_pre_hook(begin), register_optimizer_step_post_hook(end("optimisers"))]
    walk, calls = torch.autograd.backward, 0

    def backward(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        begin()
        walk(*args, **options)
        end("generators' turn, backward" if calls == 1 else "critics' turn, backward")()

    try:
        with mock.patch("torch.autograd.backward", backward):
            yield
    finally:
        for handle in handles:
            handle.remove()


def by_phase(step: Callable[[], object], nets: dict[str, nn.Module]) -> dict[str, float]:
    """Seconds of one step by phase."""
    found: Counter[str] = Counter()
    with phases(nets, found):
        whole = timed(step)
    return dict(found) | {"the rest": whole - sum(found.values())}


def by_kind(step: Callable[[], object]) -> dict[str, float]:
    """Seconds of one step by kind of operation."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    found = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        fits = {len(start): kind for kind, starts in KINDS.items() for start in starts if name.startswith(start)}
        found[fits[max(fits)] if fits else "the rest"] += event.self_cpu_time_total / 1e6
    return found


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# ---- memory ----------------------------------------------------------------------------------------------------------
def peak(system: str, width: int, which: str, threads: int) -> float:
    """Peak resident memory of three steps in a process of their own, in MB."""
    child = [sys.executable, __file__, "--child", which, "--systems", system, "--width", str(width)]
    ended = subprocess.run([*child, "--threads", str(threads)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)


def child(system: str, width: int, which: str) -> None:
    if which == "ours":
        hold_memory()  # as training does
    run = getattr(build(system, width), which)  # the other is garbage
    gc.collect()
    for _ in range(3):
        run()
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3))


# ---- tables ----------------------------------------------------------------------------------------------------------
def table(title: str, ours: dict[str, float], original: dict[str, float]) -> None:
    print(f"\n| {title} | ours | | original | |\n|---|--:|--:|--:|--:|")
    sums = sum(ours.values()), sum(original.values())
    for name in dict.fromkeys([*ours, *original]):
        a, b = ours.get(name, 0.0), original.get(name, 0.0)
        print(f"| {name} | {a:.2f} s | {a / sums[0]:.0%} | {b:.2f} s | {b / sums[1]:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--child", choices=["ours", "original"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(options.systems[0], options.width, options.child)
        return
    hold_memory()
    rows, details = [], []
    for system in options.systems:
        apart = prove(system)
        memory = {which: peak(system, options.width, which, options.threads) for which in ("ours", "original")}
        rivals = build(system, options.width)
        seconds: dict[str, list[float]] = {"ours": [], "original": []}
        for i in range(options.rounds + 2):
            for which in ("ours", "original") if i % 2 else ("original", "ours"):
                seconds[which].append(timed(getattr(rivals, which)))
        pairs = [b / a for a, b in zip(seconds["ours"][2:], seconds["original"][2:], strict=True)]
        middle = {which: statistics.median(times[2:]) for which, times in seconds.items()}
        size = "x".join(map(str, SYSTEMS[system]))
        rows.append(
            f"| {system}, {size}, width {options.width} | {middle['ours']:.2f} s | {middle['original']:.2f} s | "
            f"{statistics.median(pairs):.2f}x ({min(pairs):.2f} to {max(pairs):.2f}) | {memory['ours']:,.0f} MB | "
            f"{memory['original']:,.0f} MB | {memory['ours'] / memory['original']:.2f} | {apart:.0e} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
        nets = {name: getattr(rivals.game, name) for name in rivals.port}
        details.append((f"{system}: phase", by_phase(rivals.ours, nets), by_phase(rivals.original, rivals.port)))
        details.append((f"{system}: operation", by_kind(rivals.ours), by_kind(rivals.original)))
    print(f"{options.threads} threads, {options.rounds} interleaved rounds\n")
    print("| a step | ours | original | ratio | peak memory, ours | original | ratio | weights differ by |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    print("\n".join(rows))
    for detail in details:
        table(*detail)


if __name__ == "__main__":
    main()
