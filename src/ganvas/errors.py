"""What can go wrong for a user, as one tree of exceptions. Each carries the exit code of the command line.

    GanvasError
    ├── UsageError      2   a flag, name or combination that makes no sense
    ├── DataError       2   a file, folder, archive or array that cannot be used
    ├── RunError        2   a run folder that does not fit what was asked of it
    ├── MissingWeights  2   a published weight file that is not at hand
    ├── Diverged        3   training left the finite numbers
    ├── Damaged         4   a checkpoint or file is damaged beyond use
    └── Stopped     128+N   signal N asked training to stop, and the checkpoint is saved

A message is one sentence: what, where, what to do.
"""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

NEAR = 0.65  # how alike two names must be, from 0 to 1, for one to be a misspelling of the other


def to_path(value: str | os.PathLike[str], what: str) -> Path:
    """A path as given. Raises UsageError, which names ``what`` was asked for, where it is none."""
    try:
        return Path(value)
    except TypeError:
        raise UsageError(f"{what} must be a path, not {type(value).__name__}.") from None


class GanvasError(Exception):
    """Anything a user can cause and mend."""

    exit_code = 2


class UsageError(GanvasError):
    """A flag, a name or a combination of them that makes no sense."""


class MissingVerb(UsageError, AttributeError):  # noqa: N818 - it names what is missing
    """A verb that a system does not have; an AttributeError too, so that ``hasattr`` says so."""


class DataError(GanvasError):
    """A file, folder, archive or array that cannot be used as data."""


class RunError(GanvasError):
    """A run folder that does not fit what was asked of it."""


class MissingWeights(GanvasError):  # noqa: N818 - it names what is missing
    """A published weight file that is not at hand; says what, where from and where to put it."""


class Diverged(GanvasError):  # noqa: N818 - a state, named as users say it
    """Training left the finite numbers; says which player, step and terms, and the last good checkpoint."""

    exit_code = 3


class Damaged(GanvasError):  # noqa: N818 - a state, named as users say it
    """A checkpoint or file is damaged beyond use."""

    exit_code = 4


class Stopped(GanvasError):  # noqa: N818 - a state, named as users say it
    """A signal asked training to stop; the checkpoint is saved and named."""

    def __init__(self, number: int, checkpoint: Path) -> None:
        name = signal.Signals(number).name
        super().__init__(f"Stopped by {name}; saved {checkpoint}; the same command goes on from there.")
        self.exit_code, self.checkpoint = 128 + number, checkpoint


def near(word: str, names: Iterable[str]) -> str | None:
    """The name that a misspelled word stands for, if one is near: case, dashes and underscores do not count, and a
    number stands for itself alone."""
    plain = {_plain(name): name for name in reversed(list(names))}
    if word.lstrip("+-").isdecimal():
        return None
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=NEAR)
    return plain[close[0]] if close else None


def _plain(word: str) -> str:
    return word.lstrip("-").replace("-", "_").casefold()


def nearest(word: str, names: Iterable[str]) -> str:
    """A clause that helps with a misspelled name: the nearest one if any is near, and the whole choice if it is
    short."""
    names = list(names)
    close = near(word, names)
    hint = f"did you mean {close!r}?" if close else ""
    choice = f"one of: {', '.join(names)}" if 0 < len(names) <= 40 else ""
    return " ".join(part for part in (hint, f"({choice})" if hint and choice else choice) if part)
