"""What a run of the AVAE table found: figures over seeds, verdicts, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ganvas.benchmark.cell import Result
from ganvas.benchmark.jobs import Outcome
from ganvas.benchmark.table import verdicts
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
        std = stdev(values) if len(values) > 1 else None
        return Mean(fmean(values), std, len(values), tuple(r.step for r in having))

    def means(self, data: str) -> dict[str, dict[str, float]]:
        """row -> metric -> mean, on one data set."""
        found = {row: {m: self.mean(row, data, m) for m in self.metrics} for row in self.rows}
        return {
            row: {m: mean.mean for m, mean in figures.items() if mean is not None} for row, figures in found.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Cells as the command prints them, and means, and verdicts."""
        return {
            "benchmark": "avae-table",
            "folder": str(self.folder),
            "command_line": self.command,
            "width": self.width,
            "steps": self.steps,
            "seeds": self.seeds,
            "seconds": round(self.seconds, 1),
            "cells": [
                {
                    "model": r.cell.row,
                    "data": r.cell.data,
                    "seed": r.cell.seed,
                    "run": r.cell.folder,
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
            "orderings": {
                data: [asdict(verdict) for verdict in verdicts(self.means(data), data)] for data in self.data
            },
        }
