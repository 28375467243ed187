"""Every system there is, as tests meet it: on data that suits it, at its tiny preset, in each of its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

from ganvas import games
from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.schema import Schema

F64 = torch.float64
ROWS = 8
SCHEMAS = {
    "grey": Schema({"image": (1, 32, 32)}),
    "labelled": Schema({"image": (3, 32, 32), "label": ()}, ("cat", "dog", "newt")),
    "vectors": Schema({"vector": (2,)}),
    "pairs": Schema({"A": (3, 32, 32), "B": (3, 32, 32)}),
    "instances": Schema({"labels": (32, 32), "instances": (32, 32), "image": (3, 32, 32)}, ("0", "1", "2")),
    "maps": Schema({"labels": (32, 32), "image": (3, 32, 32)}, ("0", "1", "2")),
}
KINDS = {"pairs": ("paired", "unpaired"), "instances": ("labels",), "maps": ("labels",)}  # of data, where there is one
SYSTEMS = games.systems()
every_system = pytest.mark.parametrize("name", SYSTEMS)


@dataclasses.dataclass(frozen=True)
class Case:
    """A system on some data, with at most one setting that differs from its tiny preset."""

    name: str
    data: str
    changed: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, self.data, *(f"{leaf}={value}" for leaf, value in self.changed)])

    @property
    def schema(self) -> Schema:
        return SCHEMAS[self.data]

    def build(self, dtype: torch.dtype = torch.float32, weights: int = 0) -> Game:
        """The game with fresh weights; ``weights`` seeds them."""
        torch.manual_seed(weights)
        config, _ = SYSTEMS[self.name].preset("tiny")
        return (
            SYSTEMS[self.name].build({**dataclasses.asdict(config), **dict(self.changed)}, self.schema).to(dtype=dtype)
        )

    def batch(self, step: int, dtype: torch.dtype = torch.float32, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """A rank's rows of the batch of a step."""
        generator = torch.Generator().manual_seed(1000 + step)
        whole = {
            field: drawn(field, len(self.schema.classes), shape, generator, dtype)
            for field, shape in self.schema.fields.items()
        }
        return {field: values.chunk(world)[rank] for field, values in whole.items()}


def drawn(field: str, classes: int, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Rows of a field: classes; label maps of patches, some of them void; instances of patches; numbers in [-1, 1]."""

    def patches(most: int) -> Tensor:
        ids = torch.randint(most, (ROWS, shape[0] // 8, shape[1] // 8), generator=generator)
        return ids.repeat_interleave(8, 1).repeat_interleave(8, 2)

    match field:
        case "label":
            return torch.randint(classes, (ROWS,), generator=generator)
        case "labels":
            return (patches(classes + 1) - 1).to(torch.uint8)  # -1 becomes 255, void
        case "instances":
            return patches(6).to(torch.int32)
        case _:
            return (torch.rand(ROWS, *shape, generator=generator, dtype=F64) * 2 - 1).to(dtype)


NEED_WEIGHTS = ("perceptual",)  # options whose choices need published weights


def alternatives(system: games.System) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Every other choice of every setting that is a choice, one at a time."""
    tiny, _ = system.preset("tiny")
    for leaf, kind in get_type_hints(system.config).items():
        if leaf in NEED_WEIGHTS:
            continue
        choices = (
            get_args(kind) if get_origin(kind) is Literal else (False, True) if kind in (bool, bool | None) else ()
        )
        yield from (((leaf, choice),) for choice in choices if choice != getattr(tiny, leaf))


def suited(name: str) -> list[str]:
    """The data that a system meets here: of the kinds that it names, the preferred first, or that of no such kind."""
    kinds = SYSTEMS[name].game.kinds
    if not kinds:
        return [data for data in SCHEMAS if data not in KINDS]
    return list(dict.fromkeys(data for kind in kinds for data, of in KINDS.items() if kind in of))


def accepted(cases: Iterator[Case]) -> Iterator[Case]:
    """Those that the system takes: it refuses data that it has no use for, and settings that make no sense."""
    for case in cases:
        try:
            case.build()
        except UsageError:
            continue
        yield case


PLAIN = list(accepted(Case(name, data) for name in SYSTEMS for data in suited(name)))
CHANGED = list(
    accepted(
        Case(name, data, changed)
        for name, system in SYSTEMS.items()
        for changed in alternatives(system)
        for data in (suited(name)[:1] if system.game.kinds else ("labelled", "vectors"))
    )
)
every_plain_case = pytest.mark.parametrize("case", PLAIN, ids=str)
every_case = pytest.mark.parametrize("case", PLAIN + CHANGED, ids=str)
