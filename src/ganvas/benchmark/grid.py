"""The AVAE table by one call: models x data sets x seeds as cells, each a run folder; finished ones are skipped."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ganvas.benchmark import cell as cells
from ganvas.benchmark import pages
from ganvas.benchmark.cell import Cell
from ganvas.benchmark.jobs import Job, Outcome
from ganvas.benchmark.result import Table
from ganvas.benchmark.scoring import check
from ganvas.benchmark.table import DATA, METRICS, PROFILES, ROWS, SEVEN
from ganvas.benchmark.workers import local
from ganvas.console import clock, note
from ganvas.data import Dataset, named, open_data, parse, reading_of
from ganvas.data.opening import EMBEDDED
from ganvas.errors import DataError, GanvasError, RunError, UsageError, nearest
from ganvas.figures import Tools
from ganvas.files import holding, writing
from ganvas.run import Run

PULSE = 30.0  # seconds between lines on how far the cells are
SETTLE = 10.0  # seconds for shared storage to show what another machine wrote


def avae_table(
    out: str | Path,
    *,
    profile: str = "cpu",
    data: Mapping[str, str | None] | None = None,
    models: Sequence[str] | None = None,
    width: int | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    dask: str | None = None,
    command: str = "",
) -> Table:
    """Runs the table, or goes on with it, and writes it into ``out``: Markdown, CSV, JSON, HTML and sheets.

    profile: ``cpu`` or ``paper``, which give width, steps, seeds and data sets where they are not named. data: names of
    sets, each with the data spec of where it lies (None: by its name). models: rows (default: the seven published).
    seeds: how many, from 0. minutes: for the whole call, shared out among the cells that are left, less what scoring
    took so far; what they reach is scored, and the same call goes on. workers: cells at a time on this machine; dask:
    or on the cluster at that address. command: how it was called, for the pages.

    Raises UsageError and DataError before any cell starts; a cell that fails is told, and the others go on.
    """
    began = time.monotonic()
    if profile not in PROFILES:
        raise UsageError(f"avae-table has no profile {profile!r}: {nearest(profile, PROFILES)}.")
    size = PROFILES[profile]
    width = size.width if width is None else width
    steps = size.steps if steps is None else steps
    seeds = size.seeds if seeds is None else seeds
    for flag, value in (("width", width), ("steps", steps), ("seeds", seeds), ("workers", workers)):
        if value < 1:
            raise UsageError(f"--{flag} must be at least 1, not {value}.")
    if dask is not None and workers != 1:
        raise UsageError(
            "--workers is for this machine; on a cluster every worker has a cell at a time: leave it away."
        )
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes must be positive, not {minutes}.")
    rows = _chosen(models, SEVEN, ROWS, "model")
    sets = _chosen(None if data is None else list(data), size.data, DATA, "data set")
    folder = Path(out)
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process is at work on the benchmark in {folder}; wait for it, stop it, or choose another --out."
    with holding(folder, busy):
        splits = {name: _splits(name, (data or {}).get(name)) for name in sets}
        for name, (train, _) in splits.items():
            if sentence := pages.doubt(name, train):
                note(f"note: {sentence}.")
        metrics = Tools(METRICS).names
        grid = [
            _cell(folder, row, name, *splits[name], seed, width, steps, metrics)
            for name in sets
            for seed in range(seeds)
            for row in rows
        ]
        before = _before(folder, width, steps)
        failures: dict[str, Outcome] = {}

        def table() -> Table:
            read = [(cell, cells.read(cell.folder)) for cell in grid]
            found = [msgspec.structs.replace(r, cell=cell) for cell, r in read if r is not None and r.answers(cell)]
            return Table(
                folder, command, width, steps, seeds, tuple(rows), tuple(sets), metrics, tuple(found), dict(failures),
                before + time.monotonic() - began, {name: test for name, (_, test) in splits.items()},
            )  # fmt: skip

        try:
            with closing(_run(grid, minutes, workers, dask, folder)) as outcomes:
                for cell, outcome in outcomes:
                    if outcome.code:
                        failures[cell.name] = outcome
                        note(f"{cell.name} failed: {outcome.message}")
                    else:
                        note(_line(cell, outcome))
                    with _kept_going():
                        pages.write(table())
        except BaseException:  # a signal, say: what is there is written, with the time that it took
            with _kept_going():
                pages.write(table())
            raise
        done = table()
        pages.write(done)
    return done


def _chosen(asked: Sequence[str] | None, default: Sequence[str], known: Sequence[str] | Mapping[str, Any],
            what: str) -> list[str]:  # fmt: skip
    for name in asked or []:
        if name not in known:
            raise UsageError(f"avae-table has no {what} {name!r}: {nearest(name, known)}.")
    return list(dict.fromkeys(asked if asked is not None else default))


@contextmanager
def _kept_going() -> Iterator[None]:
    """Says what a page could not be written for, and goes on: the cells are what matters, and pages come again."""
    try:
        yield
    except RunError as error:
        note(f"note: {error}")


def _before(folder: Path, width: int, steps: int) -> float:
    """Seconds that the calls before this one took. Raises RunError for a table of another size, and for no table."""
    found = pages.before(folder)
    if found is None:
        return 0.0
    if (found["width"], found["steps"]) != (width, steps):
        raise RunError(
            f"{folder} holds a table of width {found['width']} and {found['steps']:,} steps, not of {width} and "
            f"{steps:,}: use the same size, or choose another --out."
        )
    return float(found["seconds"])


def _splits(name: str, where: str | None) -> tuple[Dataset, Dataset]:
    """The training and the test split of a set. Raises DataError where one is missing or too small."""
    train = open_data(named.spec(name, where))
    split = named.SETS[name].test
    split = split if split in train.splits else "test"
    if split not in train.splits:
        raise DataError(f"{train.spec} has no test split, which {name} is scored on; ?holdout=0.1 makes one.")
    if "image" not in train.schema:
        raise DataError(f"{train.spec} has no images.")
    reading_of(train).tell()
    test = train.part(split)
    check(train, test)
    return train, test


def _placed(spec: str) -> str:
    """A data spec that reads the same from every folder."""
    asked = parse(spec)
    if asked.kind not in (None, "images") or asked.source in (*EMBEDDED, *named.SETS):
        return spec
    return str(replace(asked, source=str(Path(asked.source).expanduser().absolute())))


def _cell(folder: Path, row: str, name: str, train: Dataset, test: Dataset, seed: int, width: int, steps: int,
          metrics: tuple[str, ...]) -> Cell:  # fmt: skip
    run = folder / "cells" / name / f"{row}-{seed}"
    return Cell(
        row=row, data=name, spec=_placed(train.spec), test=test.split, seed=seed, width=width,
        fingerprints=(train.fingerprint, test.fingerprint), steps=steps, folder=str(run.absolute()), metrics=metrics,
    )  # fmt: skip


def _run(grid: Sequence[Cell], minutes: float | None, workers: int, dask: str | None,
         folder: Path) -> Generator[tuple[Cell, Outcome], None, None]:  # fmt: skip
    """Runs the cells that are not finished; yields each with how it ended."""
    left = [
        cell
        for cell in grid
        if not ((r := cells.read(cell.folder)) is not None and r.answers(cell) and r.step == cell.steps)
    ]
    note(f"{len(grid) - len(left)} of {len(grid)} cells are finished")
    if not left:
        return
    deadline = None if minutes is None else time.time() + 60 * minutes
    by_name = {cell.name: cell for cell in left}
    jobs = []
    for cell in left:
        words = [msgspec.json.encode(cell).decode(), *([] if deadline is None else [str(deadline)])]
        log = folder / "logs" / f"{cell.data}-{cell.row}-{cell.seed}.log"
        jobs.append(Job(cell.name, cells.__name__, tuple(words), log.absolute(), timed=deadline is not None))
    if dask is None:
        outcomes = local(jobs, workers=workers)
    else:
        from ganvas.benchmark.cluster import dask as clustered

        outcomes = clustered(jobs, address=dask, folder=folder.absolute())
    with _pulse(left), closing(outcomes):
        for outcome in outcomes:
            cell = by_name[outcome.job.name]
            if dask is not None and not outcome.code:
                _arrived(cell)
            yield cell, outcome


def _arrived(cell: Cell) -> None:
    """Waits a while for shared storage to show what another machine wrote."""
    end = time.monotonic() + SETTLE
    while cells.read(cell.folder) is None and time.monotonic() < end:
        time.sleep(0.1)


@contextmanager
def _pulse(grid: Sequence[Cell]) -> Iterator[None]:
    """Tells now and then how far the cells under way are."""
    over = threading.Event()
    began = {cell.name: _step(cell) for cell in grid}

    def beat() -> None:
        while not over.wait(PULSE):
            for cell in grid:
                step = _step(cell)
                if step != began[cell.name] and step < cell.steps:
                    began[cell.name] = step
                    note(f"  {cell.name}: step {step:,} of {cell.steps:,}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _step(cell: Cell) -> int:
    """How far a cell's run is, by its newest row of figures."""
    try:
        rows = Run.open(cell.folder).stats()
    except GanvasError:
        return 0
    return rows[-1]["step"] if rows else 0


def _line(cell: Cell, outcome: Outcome) -> str:
    result = cells.read(cell.folder)
    if result is None:
        return f"{cell.name}: no time was left to begin it"
    figures = "  ".join(f"{name} {figure['value']:.4g}" for name, figure in result.metrics.items() if figure["value"])
    at = "" if result.step == cell.steps else f" at step {result.step:,} of {cell.steps:,}"
    return f"{cell.name}{at}: {figures}  ({clock(outcome.seconds)})"
