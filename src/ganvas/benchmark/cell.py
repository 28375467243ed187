"""One cell of the AVAE table, a process of its own: trains a run, or goes on with it, then scores it.

    python -m ganvas.benchmark.cell CELL     (JSON of `Cell`)

Writes ``cell.json`` and ``cell.npz`` into the run folder.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ganvas.benchmark.table import ROWS, leaves
from ganvas.bounds import read_json
from ganvas.console import note
from ganvas.errors import DataError, GanvasError, UsageError
from ganvas.files import atomic, writing
from ganvas.signals import Ended, raised

RESULT, PICTURES = "cell.json", "cell.npz"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A row on a data set with a seed, at a size."""

    row: str
    data: str
    """The set, by its name in the table."""
    spec: str
    """The data spec that it is read by."""
    test: str
    """The split that reconstructions are scored on."""
    fingerprints: tuple[str, str]
    """Of the training split, and of that one."""
    seed: int
    width: int
    steps: int
    folder: str
    metrics: tuple[str, ...]

    @property
    def name(self) -> str:
        """As messages name it."""
        return f"{self.row} on {self.data}, seed {self.seed}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a cell came to."""

    cell: Cell
    step: int
    """How far it was trained."""
    seconds: dict[str, float]
    """Of its training, by the run's own count, of the whole of it, and of each metric."""
    metrics: dict[str, dict[str, Any]]
    hardware: str
    """What it ran on."""

    def answers(self, cell: Cell) -> bool:
        """Whether it is all that a cell asks for, or at some step on the way to it, wherever folder and data lie."""
        moved = {"metrics": (), "folder": "", "spec": ""}
        theirs, ours = ({**msgspec.structs.asdict(c), **moved} for c in (self.cell, cell))
        return theirs == ours and set(cell.metrics) <= set(self.cell.metrics)


def read(folder: str | Path) -> Result | None:
    """The result in a run folder, if there is one that reads."""
    try:
        result: Result = read_json(Path(folder) / RESULT, Result)
        return result
    except (OSError, ValueError):
        return None


def work(cell: Cell, minutes: float | None) -> Result | None:
    """Trains for at most so many minutes and scores what is there, if there is something. Raises GanvasError."""
    from ganvas.benchmark.scoring import score
    from ganvas.data import open_data
    from ganvas.devices import device, hardware
    from ganvas.run import Run
    from ganvas.training import train

    began, folder = time.monotonic(), Path(cell.folder)
    before = read(folder)
    train_split = open_data(cell.spec)
    test_split = train_split.part(cell.test)
    if (train_split.fingerprint, test_split.fingerprint) != cell.fingerprints:
        raise DataError(f"{cell.spec} holds other images here than where the table was asked for: use one copy of it.")
    if minutes is None or minutes > 0:
        run = train(
            ROWS[cell.row][0], data=cell.spec, preset="avae-table", out=folder, seed=cell.seed, steps=cell.steps,
            minutes=minutes, keep=1, precision="fp32",
            **leaves(cell.row, cell.data, cell.width),
        )  # fmt: skip
    elif Run.exists(folder):
        run = Run.open(folder)
    else:
        return None  # it has not begun, and there is no time to
    where = device("auto")
    game, checkpoint = run.loaded(raw=True, device=where)
    if before is not None and before.answers(cell) and before.step == checkpoint.step:
        return before
    trained = time.monotonic() - began + (before.seconds["training, whole"] if before else 0.0)
    found = score(game, train_split, test_split, cell.metrics, data=cell.data, seed=cell.seed)
    result = Result(
        cell=cell,
        step=checkpoint.step,
        seconds={
            "training": next((row["seconds"] for row in reversed(run.stats())), 0.0),
            "training, whole": round(trained, 2),  # with checkpoints, sheets and validation
            **found.seconds,
        },
        metrics={name: figure.to_json() for name, figure in found.figures.items()},
        hardware=hardware(where),
    )
    with writing(folder):
        pictures = {"samples": found.samples}
        if found.reconstructions is not None:
            pictures["reconstructions"] = found.reconstructions
        with atomic(folder / PICTURES) as part:
            np.savez(part, allow_pickle=False, **pictures)
        with atomic(folder / RESULT) as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    return result


def share(cell: Cell, deadline: float, rounds: int) -> float:
    """Minutes that a cell may train: its part of the time until ``deadline`` (seconds since 1970), which so many rounds
    of cells share, less what scoring took the slowest cell so far on the same data."""
    others = (read(folder) for folder in Path(cell.folder).parent.glob("*"))
    scoring = [sum(s for name, s in r.seconds.items() if name in r.metrics) for r in others if r is not None]
    return ((deadline - time.time()) / rounds - max(scoring, default=0.0)) / 60


def main() -> None:
    """``CELL [DEADLINE ROUNDS]``: see `share`."""
    cell = msgspec.json.decode(sys.argv[1], type=Cell)
    minutes = share(cell, float(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 2 else None
    try:
        with raised():
            work(cell, minutes)
    except GanvasError as error:
        note(f"ganvas: {error}")
        sys.exit(error.exit_code)
    except Ended as error:
        note(f"ganvas: {error}")
        sys.exit(128 + error.number)
    except Exception as error:
        traceback.print_exc()  # into its log
        sentence = " ".join(str(error).split())
        if type(error).__name__ == "OutOfMemoryError":
            note(f"ganvas: The accelerator's memory is full: use fewer --workers ({sentence}).")
            sys.exit(UsageError.exit_code)
        note(f"ganvas: a bug of ours: {type(error).__name__}: {sentence}")
        sys.exit(1)


if __name__ == "__main__":
    main()
