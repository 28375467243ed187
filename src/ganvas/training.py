"""The loop: one command trains any system on any data, and the same command resumes it exactly."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganvas import parallel
from ganvas.calibrate import calibrate
from ganvas.console import meter, note
from ganvas.data import Batches, Dataset, contact_sheet, reading_of
from ganvas.engine import Engine
from ganvas.errors import DataError, Diverged, RunError, Stopped, UsageError
from ganvas.evaluation import evaluate
from ganvas.figures import ALL as METRICS
from ganvas.figures import larger_is_better
from ganvas.files import writing
from ganvas.health import verdicts
from ganvas.memory import hold_memory
from ganvas.ops.sheet import save_image
from ganvas.planning import PRECISIONS, Plan, opened, plan, start_of
from ganvas.run import Checkpoint, Run
from ganvas.settings import missing_parts
from ganvas.sheets import save_sheets
from ganvas.streams import Purpose, stream

VALID_BATCHES = 8  # of the held-out rows, at every checkpoint
CALIBRATION_IMAGES = 1024  # at every checkpoint, so that a killed run samples as well as a finished one
SHEET_PIXELS = 4_000_000  # of the sheet of the data, about
BEST_IMAGES = 2000  # that --keep-best scores a checkpoint on


# ---- the loop --------------------------------------------------------------------------------------------------------
def train(system: str, *, minutes: float | None = None, quiet: bool = False, **arguments: Any) -> Run:
    """Trains, or resumes; returns the run.

    system: its name, as ``systems()`` lists them. minutes: budget of the whole call; when it is spent, training stops
    at a checkpoint. quiet: no progress, and nothing on what was read. The other arguments are those of
    `ganvas.planning.plan`: ``data`` (a data spec), ``preset``, ``steps``, ``seed``, ``batch_size``, ``accumulate``,
    ``device``, ``precision``, ``compile``, ``checkpoint_every``, ``keep``, ``keep_best``, ``tick_every``, ``init``,
    ``out``, ``new``, and the leaves of the system's config.

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
            run, inexact = opened(asked) if main else (None, [])
            for sentence in inexact if not quiet else []:
                note(f"note: {sentence}.")
            parallel.barrier()
            run = run or Run.open(asked.folder)
            training = _Training(run, asked, start, minutes, quiet or not main)
            try:
                training.go()
            finally:
                training.batches.close()
    return run


def _keep_reading(run: Run, dataset: Dataset, quiet: bool) -> None:
    """Says what is trained on, and keeps that in the run with a sheet of it."""
    reading = reading_of(dataset)
    if not quiet:
        reading.tell()
    sheet = run.folder / "data.png"
    if run.reading() != reading.to_json() or not sheet.exists():
        with writing(sheet):
            pixels = max(
                (math.prod(shape[1:]) for shape in dataset.schema.fields.values() if len(shape) == 3), default=1
            )
            save_image(contact_sheet(dataset, max(8, min(64, SHEET_PIXELS // pixels))), sheet)
        run.keep_reading(reading.to_json())


class _Training:
    """One process's part of a training run, from the checkpoint it finds to the one it leaves."""

    def __init__(self, run: Run, asked: Plan, start: float, minutes: float | None, quiet: bool) -> None:
        self.run, self.config, self.quiet, self.start = run, asked.config, quiet, start
        self.decided = asked.decided
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
        else:
            if parallel.rank() == 0:
                self.run.cut(0)  # the ticks of a process that was killed before its first checkpoint
            if self.config.init is not None:
                _start_from(self.engine.game, Run.open(Path(self.config.init)), self.quiet)
                self.engine.start_average()
        first = self.engine.clock.step
        if checkpoint is None and not self.quiet:
            note(f"training {self.config.system} on {self.config.data} in {self.run.folder}")
            for name, value in self.decided.items():
                note(f"{name}: {value}, as nothing else was said; the run keeps it")
        if parallel.rank() == 0:
            _keep_reading(self.run, self.whole.dataset, self.quiet)
        if first >= self.config.steps:
            if not self.quiet:
                note(f"{self.run.folder} is trained: {first} of {self.config.steps} steps.")
            return
        with (
            self._signals(),
            _deterministic(self.device),
            meter(first, self.config.steps, quiet=self.quiet) as self.meter,
        ):
            try:
                self._loop()
            except DataError as error:  # as where a line breaks that a set is streamed over
                if self.saved is None:
                    raise
                raise DataError(
                    f"{str(error).removesuffix('.')}; the last checkpoint is {self.saved}, from which the same command "
                    "goes on."
                ) from error
            except FloatingPointError as error:
                good = self.saved or (checkpoint and checkpoint.folder)
                last = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
                raise Diverged(
                    f"Training diverged: {error}; {last}. Try a lower learning rate, or another loss or seed."
                ) from error
        if self.signal is not None and self.saved is not None and self.engine.clock.step < self.config.steps:
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
        rows = deque(self.run.stats(), maxlen=100)  # what verdicts look back over
        before = rows[-1]["seconds"] if rows else 0.0
        began = ticked = time.monotonic()
        ticked_step = engine.clock.step
        while engine.clock.step < c.steps:
            engine.step(self.batches(engine.clock.step))
            step = engine.clock.step
            self.meter.update(step)
            ticks = step % c.tick_every == 0
            stop = self._stop(ticks)
            saves = step % c.checkpoint_every == 0 or step == c.steps or stop
            if ticks or saves:
                _wait(self.device)
                now = time.monotonic()
                if saves and self.valid is not None:
                    for i, batch in enumerate(self.valid.first(min(VALID_BATCHES, self.valid.steps_per_epoch))):
                        engine.evaluate(batch, i)
                terms = engine.tick()
                row = {
                    "step": step,
                    "images": step * c.batch_size,
                    "seconds": round(before + now - began, 3),
                    "terms": terms,
                }
                self.meter.tick(step, (step - ticked_step) * c.batch_size / (now - ticked), terms)
                rows.append(row)
                if parallel.rank() == 0:
                    row["health"] = verdicts(list(rows))
                    self.run.append(row)
                if saves:
                    self._save(terms)
                ticked, ticked_step = time.monotonic(), step
                began += ticked - now  # what validating and saving took is not training
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
        if broken := [name for name, value in saved["weights"].items() if not bool(value.isfinite().all())]:
            raise FloatingPointError(f"{', '.join(broken[:3])} left the finite numbers by step {step}")
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
            figures = evaluate(self.run, metrics=[metric], n=BEST_IMAGES, device=str(self.device), quiet=True)
            if metric not in figures:  # of two directions the other one alone could be measured
                raise UsageError(f"--keep-best {metric} cannot be measured on {self.config.data}: name another.")
            value = figures[metric].value
        elif metric in terms:
            value = terms[metric]
        else:
            raise UsageError(f"--keep-best {metric}: there is no such name among {', '.join(sorted(terms))}.")
        term = metric.rpartition("/")[2]
        larger = term == "accuracy" or bool(larger_is_better(term))
        self.run.mark_best(step, metric, value, larger_is_better=larger)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a checkpoint and an end; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if self.signal is not None:  # the second, which does not wait: as if nobody had caught it
                signal.signal(number, before[signal.Signals(number)])
                signal.raise_signal(number)
            self.signal = number

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _start_from(game: nn.Module, run: Run, quiet: bool) -> None:
    """Copies the averaged weights of another run into ``game`` where name and shape fit; lists what starts fresh."""
    checkpoint = start_of(run)
    theirs, ours, lacking = checkpoint.average(), game.state_dict(), missing_parts(run.config)
    fits = {
        name: value
        for name, value in theirs.items()
        if name in ours and ours[name].shape == value.shape and name.partition(".")[0] not in lacking
    }
    if not fits:
        raise RunError(f"No weight of {run.folder} ({run.config.system}) fits this system's names and shapes.")
    game.load_state_dict(fits, strict=False)
    fresh = [name for name in ours if name not in fits]
    if not quiet:
        note(f"started from {run.folder} at step {checkpoint.step}: {len(fits)} of {len(ours)} tensors")
        if fresh:
            note(f"starting fresh: {', '.join(fresh)}")


def _wait(device: torch.device) -> None:
    """Until the device has done what it was asked, so that seconds are those of the work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On CUDA, deterministic algorithms where there are any (torch names those without), so that resuming is exact."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no matrix product is deterministic
    was = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
        torch.backends.cudnn.benchmark = was[2]
