"""Commands that bring published checkpoints in, and runs out as such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ganvas.cli.flags import Answer, RunFolder, default, facts
from ganvas.cli.runs import last, spelt_out
from ganvas.errors import UsageError


@dataclass(frozen=True)
class Importing:
    """Flags that every system has."""

    parts: Annotated[Positional[list[str]], arg(metavar="PART=FILE")]
    """The nets and their files, such as G_A=latest_net_G_A.pth; those that are not given start fresh."""
    out: Annotated[Path, arg(metavar="RUN")]
    """The run folder to make."""
    as_: Annotated[str, arg(name="as", metavar="SYSTEM")]
    """Whose checkpoints they are."""
    labels: Annotated[int | None, default("as the files tell")] = None
    """How many classes the label maps have that the net was given one-hot; 0: it was given pictures."""
    size: Annotated[str | None, arg(metavar="N|WxH"), default("as published")] = None
    """What pictures are stretched to before they are translated."""


def import_() -> Answer:
    """Make a run of published checkpoints: ganvas import --as SYSTEM PART=FILE ... --out RUN."""
    raise UsageError(_usage())


def importer(words: Sequence[str]) -> tuple[Callable[..., Answer], str, list[str]]:
    """The command ``import`` as a typed function of the flags of the system that the words name, its name in messages,
    and its words. Raises UsageError where they name none."""
    name = last(words, "--as")
    if name is None:
        if {"-h", "--help"} & set(words):
            print(_usage())
            raise SystemExit(0)
        raise UsageError(_usage())
    from ganvas import games
    from ganvas.exchange.importing import PRESET
    from ganvas.exchange.layouts import layout

    kept, system = layout(name), games.system(name)
    config, _ = system.preset(PRESET)
    leaves = {f.name for f in fields(config)}
    said = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    given = {name for name in leaves if {name, f"no_{name}"} & said}

    def run(importing: Importing, own: Any = config) -> Answer:
        return _import(name, importing, {name: getattr(own, name) for name in given})

    run.__doc__ = (
        f"Make a run of published checkpoints of {name}: {kept.source}.\n\nParts: "
        f"{', '.join(f'{part} ({file})' for part, file in kept.files.items())}."
    )
    run.__annotations__ = {"importing": Importing, "own": Annotated[system.config, arg(name=name)]}
    return run, "ganvas import", ["", *spelt_out(words, system.config)]


def _usage() -> str:
    from ganvas.exchange.layouts import LAYOUTS

    return f"usage: ganvas import --as SYSTEM PART=FILE ... --out RUN, SYSTEM being one of: {', '.join(LAYOUTS)}"


def _import(system: str, importing: Importing, leaves: dict[str, Any]) -> Answer:
    from ganvas.exchange import import_run

    parts: dict[str, str] = {}
    for word in importing.parts:
        part, equals, file = word.partition("=")
        if not (part and equals and file):
            raise UsageError(f"Write a part and its file as PART=FILE, such as G=latest_net_G.pth, not {word!r}.")
        if part in parts:
            raise UsageError(f"{part} is given twice: {parts[part]} and {file}.")
        parts[part] = file
    size = None if importing.size is None else _size(importing.size)
    run = import_run(system, parts, out=importing.out, labels=importing.labels, size=size, **leaves)
    return Answer(run.info() | {"imported": run.config.imported}, str(run.folder))


def _size(text: str) -> tuple[int, int]:
    from ganvas.data import parse

    size = parse(f"it?size={text}").size
    assert size is not None
    return size


def export(
    run: RunFolder,
    to: Annotated[Literal["published"], arg(metavar="published")],
    out: Annotated[Path, arg(metavar="DIR")],
) -> Answer:
    """Write a run as the checkpoints that its authors' own program loads, and say how alike they are.

    Args:
        run: The run folder.
        to: What for: published, the authors' program.
        out: A new folder.
    """
    from ganvas.exchange import export_published
    from ganvas.run import Run

    opened = Run.open(run)
    found = export_published(opened, out)
    shown = {
        str(one.file): f"{one.part}, {one.tensors} tensors of {one.numbers:,} numbers; read back, its output differs "
        f"from the run's by at most {one.difference:.3g}"
        for one in found
    }
    rows = [
        {"part": one.part, "file": str(one.file), "tensors": one.tensors, "numbers": one.numbers,
         "difference": one.difference}
        for one in found
    ]  # fmt: skip
    return Answer({"run": str(run), "out": str(out), "parts": rows}, f"{facts(shown)}\n{out}")
