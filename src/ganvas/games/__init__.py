"""The systems: one file each, found by their file names. Nobody keeps a second list."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ganvas.errors import UsageError, nearest
from ganvas.game import Game
from ganvas.schema import Schema
from ganvas.verbs import verbs_of

Presets = Mapping[str, Mapping[str, Any]]
RESERVED = ("steps", "batch_size")  # in a preset, beside the leaves of the system's Config: defaults of `train`


@dataclass(frozen=True)
class System:
    """A system: its name on the command line, its game, its config, its presets."""

    name: str
    game: type[Game]
    config: type[Any]
    presets: Presets

    @property
    def summary(self) -> str:
        """The first line of the game's docstring."""
        return (self.game.__doc__ or "").strip().splitlines()[0]

    @property
    def verbs(self) -> tuple[str, ...]:
        return verbs_of(self.game)

    def preset(self, name: str | None) -> tuple[Any, dict[str, int]]:
        """The config of a preset (None: the first of the table) and its defaults for ``steps`` and ``batch_size``."""
        name = next(iter(self.presets)) if name is None else name
        if name not in self.presets:
            raise UsageError(f"{self.name} has no preset {name!r}: {nearest(name, self.presets)}.")
        row = dict(self.presets[name])
        defaults = {key: row.pop(key) for key in RESERVED if key in row}
        return self.config(**row), defaults

    def build(self, leaves: Mapping[str, Any], schema: Schema) -> Game:
        """The game with fresh weights, from plain leaves."""
        make: Callable[[Any, Schema], Game] = self.game
        return make(self.configure(leaves), schema)

    def configure(self, leaves: Mapping[str, Any]) -> Any:
        """A config from plain leaves, as a run folder's ``config.json`` holds them."""
        known = {leaf.name for leaf in dataclasses.fields(self.config)}
        for name in leaves:
            if name not in known:
                raise UsageError(f"{self.name} has no setting {name!r}: {nearest(name, sorted(known))}.")
        return self.config(**leaves)


_registered: dict[str, System] = {}


def register(config: type[Any], presets: Presets) -> Callable[[type[Game]], type[Game]]:
    """Makes a game a system, named as its file (``_`` reads ``-``)."""

    def decorate(game: type[Game]) -> type[Game]:
        name = game.__module__.rpartition(".")[2].replace("_", "-")
        _registered[name] = System(name, game, config, presets)
        return game

    return decorate


def names() -> list[str]:
    """The names of all systems, read off the files: nothing is imported."""
    return sorted(
        info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")
    )


def system(name: str) -> System:
    """The system of that name. Raises UsageError, with the nearest name, when there is none."""
    if name not in names():
        raise UsageError(f"There is no system {name!r}: {nearest(name, names())}.")
    import_module(f"{__name__}.{name.replace('-', '_')}")
    return _registered[name]


def systems() -> dict[str, System]:
    """All systems by name."""
    return {name: system(name) for name in names()}
