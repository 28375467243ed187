"""Commands on runs: train one, look at it, mend it, report it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ganvas.cli.flags import Answer, Count, Device, RunFolder, Seed, default, facts
from ganvas.console import note
from ganvas.errors import UsageError

if TYPE_CHECKING:
    from ganvas.run import Run


METRICS_SHOWN = 3  # of each run, in the table of all
Switch = Annotated[bool, FlagCreatePairsOff]


@dataclass(frozen=True)
class Training:
    """Flags that every system has."""

    data: Annotated[str, arg(metavar="SPEC")]
    """What to train on: a folder, archive or array file, or a named set; see ganvas data --help."""
    out: Annotated[Path | None, arg(metavar="RUN"), default("runs/SYSTEM-DATA")] = None
    """The run folder; a run that is there is resumed."""
    new: Switch = False
    """Start a new run beside one that is there, in a folder with the next free number."""
    preset: Annotated[str | None, arg(metavar="NAME"), default("the first")] = None
    """One of the system's presets: small, paper or tiny (tiny is for tests: seconds, poor images)."""
    steps: Annotated[int | None, default("the preset's")] = None
    """How many steps to train for; each is one batch."""
    minutes: Annotated[float | None, default("no limit")] = None
    """Save and stop after so many minutes; the same command continues."""
    seed: Seed = 0
    """Random seed."""
    batch_size: Annotated[int | None, default("the preset's")] = None
    """Images per step, over all ranks and micro-batches."""
    accumulate: int = 1
    """Gradient accumulation: micro-batches per step (splits the batch to save memory)."""
    device: Device = "auto"
    """Device to train on."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward passes; auto: bf16 on CUDA, else fp32."""
    compile: Switch = False
    """Compile the networks."""
    checkpoint_every: Annotated[int | None, default("a fifth of the steps, at most 1,000")] = None
    """Steps between checkpoints."""
    keep: int = 2
    """How many of the newest checkpoints to keep."""
    keep_best: Annotated[str | None, arg(metavar="METRIC"), default("no")] = None
    """Keep the best checkpoint too, by a metric or by a logged name such as valid/PLAYER/TERM."""
    tick_every: Annotated[int | None, default("a twentieth of the steps, at most 50")] = None
    """Steps between log entries."""
    init: Annotated[Path | None, arg(metavar="RUN"), default("fresh weights")] = None
    """Start from the weights of another run, to train it for longer or otherwise; what is missing there starts fresh,
    and is listed."""
    dry_run: Switch = False
    """Print the resolved settings, and train nothing."""


def train() -> Answer:
    """Train a system on data; the same command resumes. ganvas train SYSTEM --help lists its options."""
    raise UsageError(_usage())


def trainer(words: Sequence[str]) -> tuple[Callable[..., Answer], str, list[str]]:
    """The command ``train SYSTEM`` as a typed function of that system's flags, its name in messages, and its words.

    The defaults of the system's own flags are those of the preset among the words. Raises UsageError for a system or
    preset that there is not.
    """
    if not words:
        raise UsageError(_usage())
    if words[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    if words[0].startswith("-"):
        raise UsageError(f"Name the system before its flags: ganvas train SYSTEM {' '.join(words)}.")
    from ganvas.cli.outline import outline

    system = outline(words[0])
    config, _ = system.preset(last(words, "--preset"))

    def run(training: Training, own: Any = config) -> Answer:
        leaves = {f.name: getattr(own, f.name) for f in fields(own)}
        return _train(system.name, training, {n: v for n, v in leaves.items() if v != getattr(config, n)})

    table = "\n".join(
        f"    {name}: {', '.join(f'{key} {value}' for key, value in row.items()) or 'the defaults'}"
        for name, row in system.presets.items()
    )
    run.__doc__ = f"Train {system.name}: {system.summary}\n\nPresets:\n{table}"
    run.__annotations__ = {"training": Training, "own": Annotated[system.config, arg(name=system.name)]}
    return run, f"ganvas train {system.name}", [words[0], *spelt_out(words[1:], system.config)]


def _usage() -> str:
    from ganvas import games

    return f"usage: ganvas train SYSTEM --data SPEC ..., SYSTEM being one of: {', '.join(games.names())}"


def _help() -> str:
    from ganvas import games
    from ganvas.cli.outline import outline

    width = max(map(len, games.names()))
    return "\n".join(
        [
            "usage: ganvas train SYSTEM --data SPEC [options]",
            "",
            "Train a system on data. The same command resumes a run that was stopped.",
            "",
            "Systems:",
            *(f"  {name:{width}}  {outline(name).summary}" for name in games.names()),
            "",
            "Examples:",
            "  ganvas train dcgan --data '~/Pictures/holidays?size=64' --minutes 60",
            "  ganvas train vae --data digits --conditional --out runs/vae",
            "  ganvas train vae --data digits --conditional --init runs/vae --steps 5000 --out runs/vae-longer",
            "  torchrun --nproc-per-node 2 -m ganvas train dcgan --data photos --batch-size 128   # two GPUs",
            "",
            "ganvas train SYSTEM --help lists every option and preset of a system; ganvas data --help, what SPEC is.",
        ]
    )


def last(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag among words, given as ``--preset NAME`` or ``--preset=NAME``; the last one, as for every
    flag."""
    found = None
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name == flag:
            found = value if equals else following
    return found or None


def spelt_out(words: Sequence[str], config: type[Any]) -> list[str]:
    """``--X`` and ``--no-X``, of switches that may also be left open, as ``--X true`` and ``--X false``."""
    switches = {name.replace("_", "-") for name, kind in get_type_hints(config).items() if kind == bool | None}
    spelt: list[str] = []
    for word, following in pairwise([*words, ""]):
        match = re.fullmatch("--(no-)?([a-z-]+)", word.replace("_", "-"))
        if match and match[2] in switches and following.lower() not in ("true", "false", "none"):
            spelt += [f"--{match[2]}", "false" if match[1] else "true"]
        else:
            spelt.append(word)
    return spelt


def _train(system: str, training: Training, leaves: dict[str, Any]) -> Answer:
    import msgspec

    from ganvas.data import reading_of
    from ganvas.planning import plan
    from ganvas.training import train as go

    arguments = {f.name: getattr(training, f.name) for f in fields(training) if f.name not in ("minutes", "dry_run")}
    arguments |= leaves
    if training.dry_run:
        asked = plan(system, **arguments)
        reading_of(asked.dataset).tell()
        for sentence in asked.doubts:
            note(f"note: {sentence}.")
        config = msgspec.to_builtins(asked.config)
        shown = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
        return Answer({"run": str(asked.folder), "config": config}, shown)
    run = go(system, minutes=training.minutes, **arguments)
    info = run.info()
    return Answer(info, str(run.folder))


def info(run: RunFolder) -> Answer:
    """Show what a run is, how far it is, what it measured, and what to type next.

    Args:
        run: The run folder.
    """
    from ganvas.run import Run

    opened = Run.open(run)
    found = opened.info()
    return Answer(found, _facts(opened, found))


def runs(directory: Annotated[Positional[Path], arg(metavar="DIR")] = Path("runs")) -> Answer:
    """List all runs in and under a folder.

    Args:
        directory: The folder.
    """
    from rich.table import Table

    from ganvas.console import clock
    from ganvas.run import runs as find

    if not os.path.isdir(directory):  # Path.is_dir raises where a name is too long
        raise UsageError(f"There is no folder {directory}: name one that has runs in it.")
    found = [run.info() for run in find(directory)]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", no_wrap=True, overflow="fold")  # a name that is cut cannot be copied
    table.add_column("system", no_wrap=True)
    table.add_column("data", no_wrap=True, overflow="ellipsis", max_width=24)
    for head in ("steps", "time", "MB"):
        table.add_column(head, no_wrap=True)
    table.add_column("metrics")
    for row in found:
        figures = [f"{name} {_number(figure['value'])}" for name, figure in row["metrics"].items()]
        more = [f"and {len(figures) - METRICS_SHOWN} more"] if len(figures) > METRICS_SHOWN else []
        steps = f"{row['step']:,}/{row['steps']:,}" if row["steps"] else "imported"
        table.add_row(row["run"], row["system"], row["data"], steps, clock(row["seconds"]), f"{row['bytes'] / 1e6:.1f}",
                      "  ".join([*figures[:METRICS_SHOWN], *more]))  # fmt: skip
    return Answer({"runs": found}, table if found else f"There is no run in {directory}.")


def calibrate(
    run: RunFolder,
    data: Annotated[str | None, arg(metavar="SPEC"), default("the run's own")] = None,
    count: Count[int] = 10_000,
    device: Device = "auto",
) -> Answer:
    """Recompute a run's batch-norm statistics and styles, and write a checkpoint with them.

    Args:
        run: The run folder.
        data: Images to compute them on, prepared to the run's size; an imported run needs some.
        count: How many images, and as many samples.
        device: Device to work on.
    """
    from ganvas.calibrate import calibrate_run

    checkpoint = calibrate_run(run, data=data, n=count, device=device)
    return Answer({"run": str(run), "checkpoint": str(checkpoint), "n": count}, str(checkpoint))


def report(run: RunFolder) -> Answer:
    """Write report.html: samples over time, curves, metrics and settings on one page.

    Args:
        run: The run folder.
    """
    from ganvas.report import write_report
    from ganvas.run import Run

    path = write_report(Run.open(run))
    return Answer({"run": str(run), "report": str(path)}, str(path))


def _facts(run: Run, found: dict[str, Any]) -> str:
    from ganvas.console import clock

    c, best = run.config, found["best"]
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in c.schema.items())
    rows = {
        "run": found["run"],
        "system": f"{c.system}, preset {c.preset}"
        + "".join(f", {name} {c.leaves[name]}" for name in c.changed if name in c.leaves),
        "data": f"{found['data']} ({shapes}{f', {len(c.classes)} classes' if c.classes else ''})",
        "steps": f"{found['step']:,} of {found['steps']:,} in {clock(found['seconds'])}" if c.imported is None else "",
        "imported": "\n".join(
            f"{part} from a file of SHA-256 {digest}" if digest else f"no {part}: what needs it is refused"
            for part, digest in (c.imported or {}).items()
        ),
        "verbs": " ".join(found["verbs"]),
        "export": f"not possible: {c.not_exportable}" if c.not_exportable else "",
        "checkpoints": ", ".join(f"{step:,}" for step in found["checkpoints"]) or "none yet",
        "on disk": f"{found['bytes'] / 1e6:.1f} MB",
        "best": f"step {best['step']:,}, {best['metric']} {best['value']:.5g}" if best else "",
        **{name: _number(figure["value"]) + _counted(figure.get("n")) for name, figure in found["metrics"].items()},
        "health": "\n".join(found["health"]),
        "next": "\n".join(run.commands()),
    }
    return facts(rows)


def _counted(n: int | None) -> str:
    return "" if n is None else f" (N {n:,})"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.5g}"
