"""What a run of the AVAE table found: figures over seeds, verdicts, failures."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.benchmark.cell import Result
from ganvas.benchmark.jobs import Outcome
from ganvas.benchmark.table import Verdict, verdicts
from ganvas.data import Dataset


@dataclass(frozen=True)
class Mean:
    """A figure over seeds."""

    mean: float
    std: float | None  # n - 1; None for one seed
    seeds: int
    steps: tuple[int, ...]  # that the runs had reached


@dataclass(frozen=True)
class Table:
    """Everything that was found, as the pages show it."""

    folder: Path
    command: str
    width: int
    steps: int
    seeds: int
    rows: tuple[str, ...]
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    results: tuple[Result, ...]
    failures: Mapping[str, Outcome]  # by the cell's name
    seconds: float  # of all calls so far, by the wall
    test: Mapping[str, Dataset]

    def mean(self, row: str, data: str, metric: str) -> Mean | None:
        """Over the seeds that have the figure, None where none has."""
        having = [r for r in self.results if (r.cell.row, r.cell.data) == (row, data) and metric in r.metrics]
        values = [r.metrics[metric]["value"] for r in having]
        values = [math.nan if value is None else value for value in values]
        if not values:
            return None
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return Mean(float(np.mean(values)), std, len(values), tuple(r.step for r in having))

    def means(self, data: str) -> dict[str, dict[str, float]]:
        """row -> metric -> mean, on one data set."""
        found = {row: {m: self.mean(row, data, m) for m in self.metrics} for row in self.rows}
        return {
            row: {m: mean.mean for m, mean in figures.items() if mean is not None and math.isfinite(mean.mean)}
            for row, figures in found.items()
        }

    def verdicts(self, data: str) -> list[Verdict]:
        """The table's claims on one data set, judged by the finite means; says so where runs are not at their end."""
        steps = [r.step for r in self.results if r.cell.data == data]
        short = min(steps, default=self.steps)
        found = verdicts(self.means(data), data)
        if short == self.steps:
            return found
        return [replace(v, why=f"{v.why} (runs at {short:,} to {max(steps):,} of {self.steps:,} steps)") for v in found]

    def hardware(self) -> list[str]:
        """What the cells ran on, each once."""
        return list(dict.fromkeys(r.hardware for r in self.results))

    def to_json(self) -> dict[str, Any]:
        """Cells as the command prints them, and means, and verdicts."""
        return {
            "benchmark": "avae-table",
            "command_line": self.command,
            "width": self.width,
            "steps": self.steps,
            "seeds": self.seeds,
            "seconds": round(self.seconds, 1),
            "hardware": self.hardware(),
            "cells": [
                {
                    "model": r.cell.row,
                    "data": r.cell.data,
                    "seed": r.cell.seed,
                    "run": os.path.relpath(r.cell.folder, self.folder),
                    "steps": r.step,
                    "seconds": r.seconds,
                    "metrics": r.metrics,
                }
                for r in self.results
            ],
            "failed": {name: outcome.message for name, outcome in self.failures.items()},
            "means": {
                data: {
                    row: {m: asdict(mean) for m in self.metrics if (mean := self.mean(row, data, m))}
                    for row in self.rows
                }
                for data in self.data
            },
            "orderings": {data: [asdict(verdict) for verdict in self.verdicts(data)] for data in self.data},
        }
