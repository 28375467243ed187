"""The loop: one command trains any system on any data, and the same command resumes it exactly."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from ganvas import games, parallel
from ganvas.calibrate import calibrate
from ganvas.console import meter, note
from ganvas.data import Batches, Dataset, open_data, slug
from ganvas.devices import device as named_device
from ganvas.engine import Engine
from ganvas.errors import Diverged, RunError, Stopped, UsageError
from ganvas.evaluation import ALL as METRICS
from ganvas.evaluation import ELBO, evaluate
from ganvas.game import Clock
from ganvas.health import verdicts
from ganvas.memory import hold_memory
from ganvas.metrics import LARGER_IS_BETTER
from ganvas.run import Checkpoint, Run, RunConfig, differences, origins
from ganvas.sheets import save_sheets
from ganvas.streams import Purpose, stream

VALID_BATCHES = 8  # of the held-out rows, at every checkpoint
CALIBRATION_IMAGES = 1024  # at every checkpoint, so that a killed run samples as well as a finished one
BEST_IMAGES = 2000  # that --keep-best scores a checkpoint on
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


# ---- what is asked ---------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Plan:
    """A training run, resolved: what `config.json` will hold, and the data it was read off."""

    config: RunConfig
    dataset: Dataset
    folder: Path


def plan(
    system: str,
    *,
    data: str,
    preset: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    accumulate: int = 1,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    checkpoint_every: int | None = None,
    keep: int = 2,
    keep_best: str | None = None,
    tick_every: int | None = None,
    init: str | Path | None = None,
    out: str | Path | None = None,
    new: bool = False,
    **leaves: Any,
) -> Plan:
    """Resolves the arguments of `train` without training. Raises GanvasError where they make no sense."""
    entry = games.system(system)
    config, defaults = entry.preset(preset)
    settings = {**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, **leaves}
    entry.configure(settings)  # refuses an unknown leaf or a contradiction before any work
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"--seed must be from 0 to {(1 << 63) - 1}, not {seed}.")
    for name, value in (("steps", steps), ("batch-size", batch_size), ("accumulate", accumulate), ("keep", keep),
                        ("checkpoint-every", checkpoint_every), ("tick-every", tick_every)):  # fmt: skip
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, not {value}.")
    device, precision = named_device(device), precision if precision != "auto" else ""
    precision = precision or ("bf16" if device.startswith("cuda") else "fp32")
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r}: auto, fp32 or bf16.")
    steps = defaults.get("steps", 10_000) if steps is None else steps
    batch_size = defaults.get("batch_size", 64) if batch_size is None else batch_size
    if batch_size % (accumulate * _world()):
        raise UsageError(
            f"A batch of {batch_size} does not split into {_world()} ranks x {accumulate} shares: change --batch-size."
        )
    if keep_best is not None and "/" not in keep_best and keep_best not in METRICS:
        raise UsageError(
            f"--keep-best {keep_best!r} is neither a metric ({', '.join(METRICS)}) nor a logged name such as "
            "valid/PLAYER/TERM."
        )
    dataset, folder = open_data(data, prefer=system), _folder(system, data, out, new)
    with torch.device("meta"):  # no weights yet: refuses data that the system has no use for
        entry.build(settings, dataset.schema)
    if init is not None and not Run.exists(folder):
        _start(Run.open(init))
    run_config = RunConfig(
        system=system,
        verbs=list(entry.verbs),
        preset=preset or next(iter(entry.presets)),
        leaves=settings,
        changed=[name for name, value in leaves.items() if value != getattr(config, name)],
        data=dataset.spec,
        fingerprint=dataset.fingerprint,
        schema={name: list(shape) for name, shape in dataset.schema.fields.items()},
        classes=list(dataset.schema.classes),
        seed=seed,
        batch_size=batch_size,
        shares=accumulate,
        world=_world(),
        steps=steps,
        steps_per_epoch=max(1, len(dataset) // batch_size),
        precision=precision,
        compile=compile,
        device=device,
        checkpoint_every=checkpoint_every or max(1, min(1000, steps // 5)),
        keep=keep,
        keep_best=keep_best,
        tick_every=tick_every or max(1, min(50, steps // 20)),
        init=None if init is None else str(init),
        **origins(),
    )
    try:
        msgspec.json.encode(run_config)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"A run cannot be described in JSON with a name that is not UTF-8, {error.object!r}: rename it."
        ) from None
    return Plan(run_config, dataset, folder)


def _world() -> int:
    import os

    return parallel.world() if parallel.world() > 1 else int(os.environ.get("WORLD_SIZE", "1"))


def _folder(system: str, data: str, out: str | Path | None, new: bool) -> Path:
    """``out``, or ``runs/SYSTEM-DATA``; with ``new`` the first free of ``..., ...-2, ...-3``."""
    if out is None:
        out = Path("runs") / f"{system}-{slug(data)}"
    folder = Path(out)
    if new:
        number, base = 2, folder
        while folder.exists():
            folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder


# ---- the loop --------------------------------------------------------------------------------------------------------
def train(system: str, *, minutes: float | None = None, quiet: bool = False, **arguments: Any) -> Run:
    """Trains, or resumes; returns the run.

    system: its name, as ``systems()`` lists them. minutes: budget of the whole call; when it is spent, training stops
    at a checkpoint. quiet: no progress. The other arguments are those of `plan`: ``data`` (a data spec), ``preset``,
    ``steps``, ``seed``, ``batch_size``, ``accumulate``, ``device``, ``precision``, ``compile``, ``checkpoint_every``,
    ``keep``, ``keep_best``, ``tick_every``, ``init``, ``out``, ``new``, and the leaves of the system's config.

    Raises UsageError, DataError and RunError for what cannot be done; Diverged when a gradient leaves the finite
    numbers; Stopped after SIGINT or SIGTERM, with a checkpoint saved.
    """
    start = time.monotonic()
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes must be positive, not {minutes}.")
    asked = plan(system, **arguments)
    with parallel.started(asked.config.device):
        main = parallel.rank() == 0
        with Run.locked(asked.folder) if main else nullcontext():
            run = _open(asked, quiet) if main else None
            parallel.barrier()
            run = run or Run.open(asked.folder)
            _Training(run, asked, start, minutes, quiet or not main).go()
    return run


def _open(asked: Plan, quiet: bool) -> Run:
    """The run folder, new or to be resumed. Raises RunError naming every difference that forbids resuming."""
    if not Run.exists(asked.folder):
        return Run.create(asked.folder, asked.config)
    run = Run.open(asked.folder)
    run.recover()
    refused, allowed = differences(run.config, asked.config)
    if run.config.steps != asked.config.steps and _ends_matter(run):
        refused.append(f"steps was {run.config.steps}, now {asked.config.steps}, and a schedule depends on it")
    if refused:
        raise RunError(
            f"{asked.folder} holds another run: {'; '.join(refused)}. Use the same settings to resume it, --new for a "
            "new folder beside it, or another --out."
        )
    if not quiet:
        for sentence in allowed:
            note(f"note: {sentence}.")
    return run.amend(asked.config)


def _ends_matter(run: Run) -> bool:
    """Whether a learning rate depends on how many steps there will be."""
    game, steps = run.build_game(), run.config.steps
    clocks = [(Clock(t, 1, steps), Clock(t, 1, 2 * steps)) for t in (1, steps // 2, steps - 1)]
    return any(player.schedule(a) != player.schedule(b) for player in game.players().values() for a, b in clocks)


class _Training:
    """One process's part of a training run, from the checkpoint it finds to the one it leaves."""

    def __init__(self, run: Run, asked: Plan, start: float, minutes: float | None, quiet: bool) -> None:
        self.run, self.config, self.quiet, self.start = run, asked.config, quiet, start
        self.budget = None if minutes is None else 60 * minutes
        c, rank, world = self.config, parallel.rank(), parallel.world()
        self.device = torch.device(c.device)
        hold_memory()
        torch.manual_seed(stream(c.seed, 0, Purpose.WEIGHTS))
        self.engine = Engine(
            run.build_game().to(self.device),
            seed=c.seed,
            shares=c.shares,
            precision=PRECISIONS[c.precision],
            compile=c.compile,
            steps_per_epoch=c.steps_per_epoch,
            total_steps=c.steps,
        )
        self.batches = Batches(asked.dataset, c.batch_size, seed=c.seed, device=self.device, rank=rank, world=world)
        held_out = asked.dataset.part("test") if "test" in asked.dataset.splits else None
        self.valid: Batches | None = None
        if held_out is not None:
            self.valid = Batches(
                held_out, c.batch_size, seed=c.seed, device=self.device, rank=rank, world=world, flip=False
            )
        self.whole = Batches(
            asked.dataset, c.batch_size, seed=c.seed, device=self.device, flip=False
        )  # to calibrate on
        self.shown = held_out or asked.dataset
        self.signal: int | None = None
        self.saved: Path | None = None

    def go(self) -> None:
        """Trains to the last step, or until the budget is spent or a signal comes."""
        checkpoint = self.run.latest(warn=note)
        if checkpoint is not None:
            self._resume(checkpoint)
        elif self.config.init is not None:
            _start_from(self.engine.game, Run.open(Path(self.config.init)), self.quiet)
            self.engine.start_average()
        first = self.engine.clock.step
        if first >= self.config.steps:
            if not self.quiet:
                note(f"{self.run.folder} is trained: {first} of {self.config.steps} steps; raise --steps to go on.")
            return
        with (
            self._signals(),
            _deterministic(self.device),
            meter(first, self.config.steps, quiet=self.quiet) as self.meter,
        ):
            try:
                self._loop()
            except FloatingPointError as error:
                good = self.saved or (checkpoint and checkpoint.folder)
                last = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
                raise Diverged(
                    f"Training diverged: {error}; {last}. Try a lower learning rate, or another loss or seed."
                ) from error
        if self.signal is not None and self.saved is not None:
            raise Stopped(self.signal, self.saved)

    def _resume(self, checkpoint: Checkpoint) -> None:
        self.engine.load_state_dict(
            {
                "weights": checkpoint.weights(),
                "average": checkpoint.average(),
                "state": checkpoint.state(),
                "memory": checkpoint.memory(parallel.rank()),
            }
        )
        self.saved = checkpoint.folder
        if parallel.rank() == 0:
            self.run.cut(checkpoint.step)
        if not self.quiet:
            note(f"resuming {self.run.folder} at step {checkpoint.step}")

    def _loop(self) -> None:
        engine, c = self.engine, self.config
        before = sum(row["seconds"] for row in self.run.stats()[-1:])
        began = ticked = time.monotonic()
        ticked_step = engine.clock.step
        while engine.clock.step < c.steps:
            engine.step(self.batches(engine.clock.step))
            step = engine.clock.step
            self.meter.update(step)
            ticks = step % c.tick_every == 0
            stop = self._stop(ticks)
            saves = step % c.checkpoint_every == 0 or step == c.steps or stop
            if saves and self.valid is not None:
                for i in range(min(VALID_BATCHES, self.valid.steps_per_epoch)):
                    engine.evaluate(self.valid(i), i)
            if ticks or saves:
                terms = engine.tick()
                now = time.monotonic()
                row = {
                    "step": step,
                    "images": step * c.batch_size,
                    "seconds": round(before + now - began, 3),
                    "terms": terms,
                }
                self.meter.tick(step, (step - ticked_step) * c.batch_size / (now - ticked), terms)
                if parallel.rank() == 0:
                    row["health"] = verdicts([*self.run.stats()[-100:], row])
                    self.run.append(row)
                if saves:
                    self._save(terms)
                ticked, ticked_step = time.monotonic(), step
                began += ticked - now  # what saving took is not training
            if stop:
                if self.signal is None and not self.quiet:
                    note(f"The budget is spent at step {step} of {c.steps}; the same command goes on.")
                return

    def _stop(self, ticks: bool) -> bool:
        """Whether to stop after this step. Ranks agree, and only at ticks: asking each other costs time."""
        spent = self.budget is not None and time.monotonic() - self.start > self.budget
        if parallel.world() == 1:
            return spent or self.signal is not None
        return ticks and parallel.agree(spent or self.signal is not None)

    def _save(self, terms: dict[str, float]) -> None:
        """A checkpoint, its average calibrated; its sheets; the best one marked."""
        engine, c, step = self.engine, self.config, self.engine.clock.step
        saved = engine.state_dict()
        memory = dict(enumerate(parallel.gather(saved["memory"]))) if saved["memory"] else None
        if parallel.rank() == 0:
            game = calibrate(engine.averaged, self.whole, n=CALIBRATION_IMAGES, seed=c.seed)
            self.saved = self.run.save(
                step,
                weights=saved["weights"],
                average=game.state_dict(),
                state=saved["state"],
                memory=memory,
                calibrated=True,
                keep=c.keep,
            )
            save_sheets(self.run.folder / "samples", game, self.shown, step)
            if c.keep_best is not None:
                self._mark_best(c.keep_best, terms)
        parallel.barrier()

    def _mark_best(self, metric: str, terms: dict[str, float]) -> None:
        step = self.engine.clock.step
        if metric in METRICS:
            value = evaluate(self.run, metrics=[metric], n=BEST_IMAGES, device=str(self.device))[metric].value
        elif metric in terms:
            value = terms[metric]
        else:
            raise UsageError(f"--keep-best {metric}: there is no such name among {', '.join(sorted(terms))}.")
        larger = metric.rpartition("/")[2] in {*LARGER_IS_BETTER, ELBO, "accuracy"}
        self.run.mark_best(step, metric, value, larger_is_better=larger)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a checkpoint and an end; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = number

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _start_from(game: nn.Module, run: Run, quiet: bool) -> None:
    """Copies the averaged weights of another run into ``game`` where name and shape fit; lists what starts fresh."""
    checkpoint = _start(run, warn=note)
    theirs, ours = checkpoint.average(), game.state_dict()
    fits = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    if not fits:
        raise RunError(f"No weight of {run.folder} ({run.config.system}) fits this system's names and shapes.")
    game.load_state_dict(fits, strict=False)
    fresh = [name for name in ours if name not in fits]
    if not quiet:
        note(f"started from {run.folder} at step {checkpoint.step}: {len(fits)} of {len(ours)} tensors")
        if fresh:
            note(f"starting fresh: {', '.join(fresh)}")


def _start(run: Run, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """The checkpoint of ``run`` to start another from. Raises RunError when there is none."""
    checkpoint = run.latest(warn)
    if checkpoint is None:
        raise RunError(f"{run.folder} has no checkpoint to start from.")
    return checkpoint


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On CUDA, deterministic algorithms where there are any (torch names those without), so that resuming is exact."""
    if device.type != "cuda":
        yield
        return
    was = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0])
        torch.backends.cudnn.benchmark = was[1]
