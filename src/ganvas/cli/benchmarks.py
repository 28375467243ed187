"""Commands that rerun published comparisons."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ganvas.cli.flags import Answer, default
from ganvas.errors import UsageError, nearest

if TYPE_CHECKING:
    from ganvas.benchmark.result import Table

NAMES = ("avae-table",)


def benchmark(
    name: Annotated[Positional[str], arg(metavar="NAME")],
    out: Annotated[Path, arg(metavar="DIR")],
    profile: Annotated[str, arg(metavar="cpu|paper")] = "cpu",
    data: Annotated[str | None, arg(metavar="NAME[=SPEC],..."), default("the profile's")] = None,
    models: Annotated[str | None, arg(metavar="a,b"), default("the seven published rows")] = None,
    width: Annotated[int | None, default("the profile's")] = None,
    steps: Annotated[int | None, default("the profile's")] = None,
    seeds: Annotated[int | None, default("the profile's")] = None,
    minutes: Annotated[float | None, default("no limit")] = None,
    workers: int = 1,
    dask: Annotated[str | None, arg(metavar="ADDRESS"), default("this machine")] = None,
) -> Answer:
    """Rerun a published comparison: models x data sets x seeds, each a run folder; the same command goes on.

    avae-table: VAE, GAN, VAE/GAN, BiGAN and AVAE by MSE, LPIPS and FID (Plumerault et al. 2020). Finished cells are
    skipped, a killed benchmark continues, a cell that fails is named and the rest goes on. Profiles: cpu (width 16,
    2,000 steps, one seed, CIFAR-10) and paper (width 128, 50,000 steps, five seeds, five data sets).

    Args:
        name: avae-table.
        out: The folder of the cells, and of the table as table.md, .csv, .json and .html.
        profile: A size; the flags below change it.
        data: Data sets, separated by commas; NAME=SPEC says where one lies, as in cifar10=data/cifar10.
        models: Rows, separated by commas: vae gan vaegan bigan avae-xi-nll avae-nll avae-precision avae-xi-precision.
        width: Channels of the first convolution.
        steps: Updates of every model.
        seeds: How many, from 0.
        minutes: For the whole call, shared out among the cells that are left; what they reach is scored.
        workers: Cells at a time on this machine; its cores are shared out among them.
        dask: The address of a running Dask cluster, to which the cells go; DIR must lie on storage that all share.
    """
    if name not in NAMES:
        raise UsageError(f"There is no benchmark {name!r}: {nearest(name, NAMES)}.")
    from ganvas.benchmark.grid import avae_table

    flags = {"profile": profile, "data": data, "models": models, "width": width, "steps": steps, "seeds": seeds,
             "minutes": minutes, "workers": workers, "dask": dask, "out": str(out)}  # fmt: skip
    table = avae_table(
        out, profile=profile, data=None if data is None else _data(data),
        models=None if models is None else _words(models, "--models"), width=width, steps=steps, seeds=seeds,
        minutes=minutes, workers=workers, dask=dask, command=_command(name, flags),
    )  # fmt: skip
    codes = [outcome.code for outcome in table.failures.values()]
    return Answer(table.to_json(), _shown(table), code=0 if not codes else codes[0] if codes[0] > 0 else 1)


def _words(text: str, flag: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{flag} takes one or more names, separated by commas.")
    return words


def _data(text: str) -> dict[str, str | None]:
    """``cifar10=data/cifar10,svhn`` as a mapping; a comma in a path must be followed by no name of a set and ``=``."""
    found: dict[str, str | None] = {}
    for word in _words(text, "--data"):
        name, equals, where = word.partition("=")
        if equals and not where:
            raise UsageError(f"--data {word} says not where {name} lies.")
        if name in found:
            raise UsageError(f"--data names {name} twice.")
        found[name] = where if equals else None
    return found


def _command(name: str, flags: dict[str, Any]) -> str:
    """The command as it can be typed again: what is not its default."""
    plain = {"workers": 1, "profile": None}
    given = [(flag, value) for flag, value in flags.items() if value is not None and value != plain.get(flag)]
    return shlex.join(
        ["ganvas", "benchmark", name, *(word for flag, value in given for word in (f"--{flag}", str(value)))]
    )


def _shown(table: Table) -> Any:
    from rich.console import Group
    from rich.table import Table as Drawn

    from ganvas.benchmark.pages import HEADS, figure, said, steps_of
    from ganvas.benchmark.table import TITLES

    drawn = Drawn("data", "model", *(HEADS[m] for m in table.metrics), "steps", box=None, padding=(0, 2, 0, 0))
    for data in table.data:
        for row in table.rows:
            figures = (figure(table, row, data, m) for m in table.metrics)
            drawn.add_row(data, TITLES[row], *figures, steps_of(table, row, data))
    claims = [f"{data}: {said(v)}: {v.claim}" for data in table.data for v in table.verdicts(data)]
    return Group(drawn, "", *claims, "", str(table.folder / "table.html"))
