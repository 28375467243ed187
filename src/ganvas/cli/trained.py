"""What the commands on trained runs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganvas.cli.flags import Answer
from ganvas.errors import UsageError

if TYPE_CHECKING:
    from ganvas.run import Run


def load(folder: Path, name: str, device: str) -> tuple[Run, Any]:
    """The run and its game, which has the verb. Raises UsageError where its system has not."""
    from ganvas.devices import device as named
    from ganvas.run import Run

    opened = Run.open(folder)
    if name not in opened.config.verbs:
        has = ", ".join(opened.config.verbs)
        raise UsageError(f"{folder} is a run of {opened.config.system}, which cannot {name}: it has {has}.")
    return opened, opened.load_game(device=named(device))


def positive(given: int | None, default: int, flag: str = "n") -> int:
    """A count that was given, or its default. Raises UsageError for one below 1."""
    if given is not None and given < 1:
        raise UsageError(f"{'-' if flag == 'n' else '--'}{flag} must be at least 1, not {given}.")
    return default if given is None else given


def written(run: Run, out: Path, *shown: str, **fields: Any) -> Answer:
    """What a verb wrote, and where."""
    return Answer({"run": str(run.folder), "out": str(out), **fields}, "\n".join([*shown, str(out)]))
