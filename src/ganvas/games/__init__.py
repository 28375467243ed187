"""The systems: one file each, found by their file names. Nobody keeps a second list."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from ganvas.errors import UsageError, nearest
from ganvas.schema import Schema
from ganvas.verbs import verbs_of

if TYPE_CHECKING:  # the command line asks for names and options, and must not wait for torch
    from ganvas.game import Game

Presets = Mapping[str, Mapping[str, Any]]

# What the numbers of a Config may be; looked at where a config is made from plain leaves.
Count = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
Weight = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
_PLAIN = {"`": "", " | null": " or None", "null": "None", "int": "a whole number", "float": "a number",
          "bool": "true or false"}  # fmt: skip

RESERVED = ("steps", "batch_size")  # in a preset, beside the leaves of the system's Config: defaults of `train`


@dataclass(frozen=True, repr=False)
class System:
    """A system: its name on the command line, its game, its config, its presets."""

    name: str
    game: type[Game]
    config: type[Any]
    presets: Presets

    def __repr__(self) -> str:
        return f"<System {self.name}: {self.summary} Presets: {', '.join(self.presets)}>"

    @property
    def summary(self) -> str:
        """The first line of the game's docstring."""
        return (self.game.__doc__ or "").strip().splitlines()[0]

    @property
    def verbs(self) -> tuple[str, ...]:
        return verbs_of(self.game)

    def preset(self, name: str | None) -> tuple[Any, dict[str, int]]:
        """The config of a preset (None: the first of the table) and its defaults for ``steps`` and ``batch_size``."""
        return preset_of(self.name, self.config, self.presets, name)

    def build(self, leaves: Mapping[str, Any], schema: Schema) -> Game:
        """The game with fresh weights, from plain leaves."""
        make: Callable[[Any, Schema], Game] = self.game
        game = make(self.configure(leaves), schema)
        game.schema = schema
        return game

    def configure(self, leaves: Mapping[str, Any]) -> Any:
        """A config from plain leaves, as a run folder's ``config.json`` holds them.

        Raises UsageError for a leaf that there is not, a value that its type forbids, and leaves that contradict each
        other (the config's own ``__post_init__``).
        """
        leaves = getattr(self.config, "upgraded", dict)(leaves)
        there = {leaf.name for leaf in dataclasses.fields(self.config)}
        for name in leaves:
            if name not in there:
                raise UsageError(f"{self.name} has no setting {name!r}: {nearest(name, sorted(there))}.")
            if isinstance(leaves[name], float) and not math.isfinite(leaves[name]):
                raise UsageError(f"{name} of {self.name} must be finite, not {leaves[name]}.")
        try:
            return msgspec.convert(dict(leaves), self.config)
        except msgspec.ValidationError as error:
            raise UsageError(self._refusal(leaves, str(error))) from None

    def resolve(self, leaves: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> dict[str, Any]:
        """The leaves, with what depends on this machine decided once (the config's ``resolved``, where it has one).

        recorded: the leaves of a run that is resumed, whose decisions stand. Raises UsageError as `configure` does.
        """
        config = self.configure(leaves)
        decide = getattr(config, "resolved", None)
        return dataclasses.asdict(config if decide is None else decide(recorded))

    def _refusal(self, leaves: Mapping[str, Any], error: str) -> str:
        """In a sentence, why a leaf cannot be what it is; ``error`` is msgspec's own, and ends in "- at `$.LEAF`"."""
        reason, _, name = error.rstrip("`").partition(" - at `$.")
        value, kind = leaves[name], get_type_hints(self.config)[name]
        choices = [one for part in (kind, *get_args(kind)) if get_origin(part) is Literal for one in get_args(part)]
        if isinstance(value, str) and choices and all(isinstance(choice, str) for choice in choices):
            return f"{self.name} has no {name} {value!r}: {nearest(value, choices)}."
        wanted = reason.removeprefix("Expected ").partition(", got ")[0]
        for word, plain in _PLAIN.items():
            wanted = wanted.replace(word, plain)
        return f"{name} of {self.name} must be {wanted}, not {value!r}."


def preset_of(system: str, config: type[Any], presets: Presets, name: str | None) -> tuple[Any, dict[str, int]]:
    """See `System.preset`."""
    name = next(iter(presets)) if name is None else name
    if name not in presets:
        raise UsageError(f"{system} has no preset {name!r}: {nearest(name, presets)}.")
    row = dict(presets[name])
    defaults = {key: row.pop(key) for key in RESERVED if key in row}
    return config(**row), defaults


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


def known(name: str) -> str:
    """The name. Raises UsageError, with the nearest name, when no system has it."""
    if name not in names():
        raise UsageError(f"There is no system {name!r}: {nearest(name, names())}.")
    return name


def system(name: str) -> System:
    """The system of that name. Raises UsageError, with the nearest name, when there is none."""
    known(name)
    import_module(f"{__name__}.{name.replace('-', '_')}")
    return _registered[name]


class Systems(dict[str, System]):
    """Systems by name, printed one per line."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values()))


def systems() -> dict[str, System]:
    """All systems by name."""
    return Systems((name, system(name)) for name in names())
