"""What a published layout is: which parts it has, what their shapes tell, and how its tensors are ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from ganvas.errors import DataError, UsageError
from ganvas.exchange.reading import Published, Tensors
from ganvas.game import Game
from ganvas.schema import Schema

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Wish:
    """What the user says of an import, besides its files.

    leaves: settings of the system. labels: how many classes the label maps have; 0: the input is a picture. size: what
    pictures are stretched to. outputs: channels of the pictures that come out, where that is known.
    """

    leaves: Mapping[str, Any] = field(default_factory=dict)
    labels: int | None = None
    size: Size | None = None
    outputs: int | None = None

    def beside(self, seen: int | None) -> int:
        """Channels of the pictures that a critic judges, of whose ``seen`` channels they are a part: colours, if those
        leave any for the input."""
        return self.outputs or (1 if seen is not None and seen < 4 else 3)


@dataclass(frozen=True)
class Told:
    """What files and wishes tell of a run: the settings, the rows, and how pictures are prepared."""

    leaves: dict[str, Any]
    schema: Schema
    data: str


class Findings:
    """Settings as several files tell them, which must agree with each other and with the wishes."""

    def __init__(self, system: str, wish: Wish) -> None:
        self.system, self.wish = system, wish
        self._found: dict[str, tuple[Any, Published]] = {}

    def add(self, name: str, value: Any, file: Published) -> None:
        """``name`` is ``value`` in that file. Raises DataError where another file or the user says otherwise."""
        before = self._found.setdefault(name, (value, file))
        words = name.replace("_", " ")
        if before[0] != value:
            raise DataError(
                f"{words} is {before[0]} in {before[1].path} and {value} in {file.path}, and {self.system} has one: "
                "import them apart."
            )
        if self.wish.leaves.get(name, value) != value:
            flag, said = f"--{name.replace('_', '-')}", self.wish.leaves[name]
            raise UsageError(f"{words} is {value} in {file.path}, not {said}: remove {flag}.")

    def get(self, name: str, otherwise: Any) -> Any:
        return self._found[name][0] if name in self._found else otherwise

    def leaves(self, *others: str) -> dict[str, Any]:
        """All that was found but for what is no setting of the system's, ``others``."""
        return {name: value for name, (value, _) in self._found.items() if name not in others}


class Layout(ABC):
    """The published checkpoints of one system.

    files: the parts, and what the authors' programs call their files. makes: the parts of which one is needed by its
    verbs. untold: settings that no file tells and that are said again where a file is read back. idle: settings that
    matter to training alone, as an imported run has them, so that it needs nothing that it has no use for.
    """

    system: ClassVar[str]
    source: ClassVar[str]
    files: ClassVar[Mapping[str, str]]
    makes: ClassVar[tuple[str, ...]] = ("G",)
    untold: ClassVar[tuple[str, ...]] = ()
    idle: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        """The settings of a run of these parts. Raises DataError for a part that is none, or that contradicts another;
        UsageError for what the files cannot tell and the user must."""

    def prepared(self, file: Published) -> Published:
        """The file under the keys that `published` gives, where there are several ways to write one net."""
        return file

    def published(self, part: str, game: Game) -> Tensors:
        """The state dict of one of our nets as the published one, in its order."""
        return dict(getattr(game, part).state_dict())

    def ours(self, part: str, tensors: Tensors, net: nn.Module) -> Tensors:
        """The published state dict as that of ``net``."""
        return tensors

    def check(self, game: Game) -> None:  # noqa: B027 - most layouts hold all that our nets do
        """Raises UsageError, one sentence, where the published nets cannot be what this game's are."""

    @abstractmethod
    def probe(self, part: str, game: Game) -> Tensor:
        """An input of that part, of a small size, drawn from torch's generator."""

    def run(self, part: str, game: Game, x: Tensor) -> Any:
        """What that part makes of an input as `published` gives it: a tensor, or lists of them."""
        return getattr(game, part)(x)

    @abstractmethod
    def usage(self, game: Game, schema: Schema) -> list[str]:
        """Lines that say how the original is run with the files."""


def grey(inputs: int, *others: int) -> str:
    """The key of a data spec for pictures of so many channels; ``others``: of what they become. Raises UsageError for
    what is neither 1 nor 3."""
    for channels in (inputs, *others):
        if channels not in (1, 3):
            raise UsageError(
                f"Pictures have 1 channel or 3, not {channels}; where the input is a label map of so many classes, "
                f"one-hot, say --labels {channels}."
            )
    return "&channels=grey" if inputs == 1 else ""


def median(*signs: int) -> int:
    """What most of three or more signs tell of one number, where one key of the file may be wrong, missing or extra."""
    return sorted(signs)[len(signs) // 2]


def stretched(size: Size) -> str:
    """A size as the value of a data spec's key."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def classes(count: int) -> tuple[str, ...]:
    """The classes of label maps, by their ids."""
    return tuple(str(label) for label in range(count))
