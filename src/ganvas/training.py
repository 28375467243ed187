"""The loop: one command trains any system on any data, and the same command resumes it exactly."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganvas import parallel
from ganvas.calibrate import calibrate, rows_together
from ganvas.console import meter, note
from ganvas.data import Batches, Dataset, contact_sheet, reading_of
from ganvas.devices import hardware
from ganvas.engine import Engine
from ganvas.errors import Damaged, DataError, Diverged, RunError, Stopped, UsageError, nearest
from ganvas.evaluation import evaluate_for_best
from ganvas.figures import ALL as METRICS
from ganvas.figures import larger_is_better
from ganvas.files import writing
from ganvas.game import Game
from ganvas.health import verdicts
from ganvas.memory import hold_memory
from ganvas.ops.sheet import save_image
from ganvas.planning import PRECISIONS, Plan, check_types, opened, plan, start_of
from ganvas.run import Checkpoint, Run
from ganvas.settings import carried_on, missing_parts, trained_on
from ganvas.sheets import remove_sheets, save_sheets, sheets_missing
from ganvas.signals import ASKED, firm, handled, leave_terminal, say
from ganvas.streams import Purpose, stream

VALID_BATCHES = 8  # of the held-out rows, at every checkpoint
CALIBRATION_IMAGES = 1024  # at every checkpoint, so that a killed run samples as well as a finished one
SHEET_PIXELS = 4_000_000  # of the sheet of the data, about
BEST_IMAGES = 2000  # that --keep-best scores a checkpoint on


# ---- the loop --------------------------------------------------------------------------------------------------------
def train(
    system: str, data: str | Path | None = None, *, minutes: float | None = None, quiet: bool = False, **arguments: Any
) -> Run:
    """Trains, or resumes; returns the run.

    system: its name, as ``systems()`` lists them. minutes: budget of the whole call; when it is spent, training stops
    at a checkpoint. quiet: no progress, and nothing on what was read. The other arguments are those of
    `ganvas.planning.plan`: ``data`` (a data spec), ``preset``, ``steps``, ``seed``, ``batch_size``, ``accumulate``,
    ``device``, ``precision``, ``compile``, ``checkpoint_every``, ``keep``, ``keep_best``, ``tick_every``, ``init``,
    ``out``, ``new``, and the leaves of the system's config.

    Raises UsageError, DataError and RunError for what cannot be done; Diverged when a gradient leaves the finite
    numbers; Stopped after SIGINT, SIGTERM or SIGHUP, with a checkpoint saved.
    """
    start = time.monotonic()
    if minutes is not None and not (isinstance(minutes, int | float) and minutes > 0):
        raise UsageError(f"--minutes must be positive, not {minutes}.")
    asked = plan(system, **check_types(system, {"data": data, **arguments}))
    with parallel.started(asked.config.device):
        main = parallel.rank() == 0
        with Run.locked(asked.folder) if main else nullcontext(lambda: None) as held:
            run, inexact = opened(asked) if main else (None, [])
            for sentence in [*asked.doubts, *inexact] if main and not quiet else []:
                note(f"note: {sentence}.")
            parallel.barrier()
            run = run or Run.open(asked.folder)
            training = _Training(run, asked, start, minutes, quiet or not main, held)
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

    def __init__(
        self, run: Run, asked: Plan, start: float, minutes: float | None, quiet: bool, held: Callable[[], None]
    ) -> None:
        self.run, self.config, self.quiet, self.start = run, asked.config, quiet, start
        self.held = held  # raises where the folder is no longer ours
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
        if held_out is not None and c.leaves.get("conditional") and "label" not in held_out.schema:
            if not quiet:
                note(f"note: {asked.dataset.spec} has no labels in its split test: it is not validated on.")
            held_out = None
        self.valid: Batches | None = None
        if held_out is not None:
            self.valid = Batches(
                held_out, c.batch_size, seed=c.seed, device=self.device, rank=rank, world=world, flip=False
            )
        rows = rows_together(c, asked.dataset)
        self.whole = Batches(asked.dataset, rows, seed=c.seed, device=self.device, flip=False)  # to calibrate on
        self.shown = held_out or asked.dataset
        self.signal: int | None = None
        self.saved: Path | None = None
        self.first = 0  # the step that this call trains from
        self.seconds = 0.0  # that training took before
        self.noted = False  # in the run's provenance

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
        self.first = first = self.engine.clock.step
        if checkpoint is None and not self.quiet:
            note(f"training {self.config.system} on {self.config.data} in {self.run.folder}")
            for name, value in self.decided.items():
                note(f"{name}: {value} (chosen automatically; fixed for this run)")
            if (why := self.config.not_exportable) is not None:
                note(f"note: this run cannot be exported: {why}")
        if parallel.rank() == 0:
            _keep_reading(self.run, self.whole.dataset, self.quiet)
        if first >= self.config.steps:
            self.run.config = Run.open(self.run.folder).config  # nothing is trained, and nothing changes
            if not self.quiet:
                note(f"{self.run.folder} is trained: {first} of {self.config.steps} steps.")
            return
        if parallel.rank() == 0:
            self.run.amend(carried_on(self.run.config, self.run.config, first))
        with (
            self._signals(),
            _deterministic(self.device),
            meter(first, self.config.steps, batch_size=self.config.batch_size, quiet=self.quiet) as self.meter,
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
        saved = {
            "weights": checkpoint.weights(),
            "average": checkpoint.average(),
            "state": checkpoint.state(),
            "memory": checkpoint.memory(parallel.rank()),
        }
        try:
            self.engine.load_state_dict(saved)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise Damaged(
                f"{checkpoint.folder} does not hold what this run saves ({reason}): restore it from a copy, or remove "
                "it to go on from the one before."
            ) from error
        self.saved = checkpoint.folder
        rows = [row for row in self.run.stats() if row["step"] <= checkpoint.step]
        self.seconds = rows[-1].get("seconds", 0.0) if rows else 0.0
        parallel.barrier()
        if parallel.rank() == 0:
            self.run.cut(checkpoint.step)
            remove_sheets(self._sheets, checkpoint.step - checkpoint.paused)
            if not checkpoint.paused:
                self._complete(checkpoint.step)
        parallel.barrier()
        if not self.quiet:
            note(f"resuming {self.run.folder} at step {checkpoint.step}")

    @property
    def _sheets(self) -> Path:
        return self.run.folder / "samples"

    def _loop(self) -> None:
        engine, c = self.engine, self.config
        rows = deque(self.run.stats(), maxlen=100)  # what verdicts look back over
        began = ticked = time.monotonic()
        ticked_step = engine.clock.step

        def tick(now: float, saves: bool, **more: Any) -> dict[str, float]:
            """Adds a row of figures; with held-out rows' where training saves."""
            step = engine.clock.step
            if saves and self.valid is not None:
                for i, batch in enumerate(self.valid.first(min(VALID_BATCHES, self.valid.steps_per_epoch))):
                    engine.evaluate(batch, i)
            terms = engine.tick()
            row: dict[str, Any] = {
                "step": step,
                "images": step * c.batch_size,
                "seconds": round(self.seconds + now - began, 3),
                "terms": terms,
            }
            self.meter.tick(step, (step - ticked_step) * c.batch_size / (now - ticked), terms)
            rows.append(row)
            if parallel.rank() == 0:
                row |= {"health": verdicts(list(rows)), **more}
                self.run.append(row, flush=saves)
            return terms

        while engine.clock.step < c.steps:
            engine.step(self.batches(engine.clock.step))
            step = engine.clock.step
            self.meter.update(step)
            ticks = step % c.tick_every == 0
            stop = self._stop(ticks)
            saves = step % c.checkpoint_every == 0 or step == c.steps
            if ticks or saves or stop:
                _wait(self.device)
                now = time.monotonic()
                if saves:
                    self._save(tick(now, True))
                elif ticks:
                    tick(now, False)
                if stop and not saves:
                    self._pause()
                    if not ticks:  # the checkpoint has what the next tick will report: this row is only to be seen
                        tick(now, True, paused=True)
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
        """A checkpoint that is due, and all that comes with it."""
        game = self._write()
        if game is not None:
            step = self.engine.clock.step
            save_sheets(self._sheets, game, self.shown, step)
            self._complete(step, terms)
        parallel.barrier()

    def _pause(self) -> None:
        """A checkpoint where training is asked to stop though none is due. It is neither scored nor kept for good, so
        that the run that goes on from it ends as if it had never stopped."""
        self.engine.check()
        game = self._write(paused=True)
        if game is not None:
            self.run.prune(self.engine.clock.step, self.config.keep + 1)
            save_sheets(self._sheets, game, self.shown, self.engine.clock.step)
        parallel.barrier()

    def _write(self, *, paused: bool = False) -> Game | None:
        """Writes a checkpoint, its average calibrated; returns the game of that on rank 0, and None on others."""
        engine, c, step = self.engine, self.config, self.engine.clock.step
        saved = engine.state_dict()
        if broken := [name for name, value in saved["weights"].items() if not bool(value.isfinite().all())]:
            raise FloatingPointError(f"{', '.join(broken[:3])} left the finite numbers by step {step}")
        memory = dict(enumerate(parallel.gather(saved["memory"]))) if saved["memory"] else None
        game = None
        if parallel.rank() == 0:
            self.held()
            if not self.noted:  # before the checkpoint: a call whose checkpoint is lost is dropped again
                self.run.amend(trained_on(self.run.config, c, self.first, hardware(c.device)))
                self.noted = True
            game = calibrate(engine.averaged, self.whole, n=CALIBRATION_IMAGES, seed=c.seed)
            self.run.save(
                step,
                weights=saved["weights"],
                average=game.state_dict(),
                state=saved["state"],
                memory=memory,
                calibrated=True,
                paused=paused,
            )
        parallel.barrier()
        self.saved = self.run.checkpoint_folder(step)
        return game

    def _complete(self, step: int, terms: dict[str, float] | None = None) -> None:
        """What a checkpoint that is due has beside it: its sheets, its score, its place among those kept.

        Does what lacks, and leaves alone what is there: a process that was killed may have come to any point of it.
        """
        if terms is None:  # a checkpoint that was found
            if sheets_missing(self._sheets, self.engine.game, self.shown, step):
                save_sheets(self._sheets, self.run.load_game(device=str(self.device)), self.shown, step)
            terms = next((row["terms"] for row in self.run.stats() if row["step"] == step), {})
        if (metric := self.config.keep_best) is not None:
            value = self._measured(metric, step) if metric in METRICS else self._logged(metric, terms)
            if value is not None:
                larger = bool(larger_is_better(metric.rpartition("/")[2]))
                self.run.mark_best(step, metric, value, larger_is_better=larger)
        self.run.prune(step, self.config.keep)

    def _measured(self, metric: str, step: int) -> float | None:
        """The figure of the newest checkpoint, which is of ``step``: as it is recorded, else measured now."""
        for row in self.run.metrics():
            if row["step"] == step and row.get("keep_best") and metric in row["metrics"]:
                found = {name: figure.get("value") for name, figure in row["metrics"].items()}
                break
        else:
            figures = evaluate_for_best(self.run, metric, BEST_IMAGES, str(self.device))
            found = {name: figure.value for name, figure in figures.items()}
        if metric not in found:  # of two directions the other one alone could be measured
            raise UsageError(f"--keep-best {metric} cannot be measured on {self.config.data}: name another.")
        return found[metric]

    def _logged(self, name: str, terms: Mapping[str, float | None]) -> float | None:
        """A logged value; None, with a note, where the term was not played since the last tick, as in another stage.

        Raises UsageError for a term of a player that has played without it so far.
        """
        if name in terms:
            return terms[name]
        known = sorted({term for row in self.run.stats() for term in row["terms"]})
        if name not in known and any(term.startswith(f"{name.rpartition('/')[0]}/") for term in known):
            raise UsageError(f"--keep-best {name}: nothing of that name is logged: {nearest(name, known)}.")
        if not self.quiet:
            note(f"note: {name} was not logged since the last tick: this checkpoint is not compared with the best.")
        return None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP ask for a checkpoint and an end; a firm second one ends at once, and so does the
        first while no step is done: there is nothing to save."""
        before: dict[int, Any] = {number: signal.getsignal(number) for number in ASKED}

        def ask(number: int, frame: Any) -> None:
            again = self.signal is not None and firm(self.signal, number)
            if again or (self.signal is None and self.engine.clock.step == self.first):
                self.signal = number
                signal.signal(number, before[number])  # as if nobody had caught it
                signal.raise_signal(number)
            if self.signal is not None:
                return
            self.signal = number
            if number == signal.SIGHUP:
                leave_terminal()
            elif not self.quiet:
                ctrl_c = "saving; press again to quit without saving"
                say(ctrl_c if number == signal.SIGINT else f"{signal.Signals(number).name}: saving")

        with handled(ask):
            yield


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
