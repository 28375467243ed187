"""The rules: players, moves, rounds. Knows nothing of optimiser state, devices, precision, logs or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganvas.errors import MissingVerb
from ganvas.guards import guarded
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream
from ganvas.verbs import GUARDED, VERBS, verbs_of

Term = Tensor | tuple[float | Tensor, Tensor]  # a value, or (weight, value): the product is minimised, the value logged
Recipe = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[["Clock"], float]  # multiplies the recipe's learning rate


@dataclass(frozen=True)
class Clock:
    """Where the run is. Whatever varies in time is a pure function of it, so nothing else need be saved."""

    step: int = 0  # rounds played; one round is one batch
    steps_per_epoch: int = 1
    total_steps: int = 1

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch


@dataclass(frozen=True)
class Seat:
    """Which rows of the whole batch this share (rank x micro-batch) plays, and the whole batch's noise."""

    first: int = 0
    count: int = 1
    total: int = 1
    noise: torch.Generator | None = None


def constant(clock: Clock) -> float:
    """The schedule that leaves the learning rate alone."""
    return 1.0


@dataclass(frozen=True, eq=False)
class Player:
    """Nets that move together, and how. Two players may hold the same net: each then has its own optimiser."""

    nets: tuple[nn.Module, ...]
    recipe: Recipe
    schedule: Schedule = constant
    clip: float | None = None  # largest norm of the gradient; the norm is always logged
    ema: float | None = None  # decay a step of the averaged weights

    def weights(self) -> list[nn.Parameter]:
        """Each weight once, in a fixed order."""
        return list(dict.fromkeys(p for net in self.nets for p in net.parameters()))


@dataclass(frozen=True, eq=False)
class Move:
    """What one player minimises: the sum of its terms."""

    player: Player
    terms: dict[str, Term]

    def loss(self) -> Tensor:
        """The weighted sum of the terms, at least fp32."""
        weighed = [term if isinstance(term, Tensor) else term[0] * term[1] for term in self.terms.values()]
        return torch.stack([wide(value) for value in weighed]).sum()


Turn = Move | tuple[Move, ...]


def minimise(player: Player, /, **terms: Term) -> Move:
    """A move of ``player``; the names of the terms become log keys, plot legends and table columns.

    Raises ValueError for a term that is not one number: a mean over the batch was forgotten.
    """
    for name, term in terms.items():
        value = term if isinstance(term, Tensor) else term[1]
        if value.ndim:
            raise ValueError(f"the term {name} must be one number, not of shape {tuple(value.shape)}: take its mean")
    return Move(player, terms)


class Game(nn.Module):
    """Nets as attributes, players as attributes, and a round. State that a round changes is a buffer.

    ``round`` yields moves; the engine plays them: *yield hands the move to the engine; when the next line runs, that
    player has moved.* A single move is a sequential turn, a tuple of moves a simultaneous one: all gradients are of the
    old weights, then all step. Never yield inside ``with``.
    """

    kinds: ClassVar[tuple[str, ...]] = ()  # of data, the preferred first; (): whatever has the fields it plays with
    clock = Clock()  # the engine's: a round asks through when(), every() and now()
    seat = Seat()
    schema: Schema | None = None  # of the data that it learns from, where a `System` built it
    data: str = ""  # what it was trained on, for people

    def __init_subclass__(cls) -> None:
        """Check the arguments of verbs where users call them, and describe each as its protocol does."""
        super().__init_subclass__()
        for name in GUARDED & vars(cls).keys():
            method = vars(cls)[name]
            if not isinstance(method, FunctionType):  # None, where a game takes a verb back
                continue
            method.__doc__ = method.__doc__ or getattr(VERBS.get(name), name, method).__doc__
            setattr(cls, name, guarded(method))

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[str, Tensor] = {}
        self.asked: list[tuple[Callable[[Clock], bool], bool]] = []  # what the round branched on: keys a captured graph
        self.dials: list[tuple[Tensor, Callable[[Clock], float]]] = []  # scalars that vary in time
        self._turned: dict[int, int] = {}  # how many of them each share has asked for, by its first row

    def round(self, *args: Any, **batch: Any) -> Iterator[Turn]:
        """One training step. A subclass names the batch fields it plays with; ``**batch`` takes them all."""
        raise TypeError(f"{type(self).__name__} has no round")

    def players(self) -> dict[str, Player]:
        """The players by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Player)}

    def when(self, predicate: Callable[[Clock], bool]) -> bool:
        """The only way a round may branch: by the clock, never by a tensor."""
        answer = predicate(self.clock)
        self.asked.append((predicate, answer))
        return answer

    def every(self, n: int) -> bool:
        """True in one round of ``n``; always in a validation pass, which plays every turn."""
        return not self.training or self.when(lambda clock: clock.step % n == n - 1)

    def now(self, value: Callable[[Clock], float]) -> Tensor:
        """A number that varies in time, as a scalar on the device that persists between rounds.

        The engine turns all dials before a round starts, so that a captured graph sees the new value. Rounds must ask
        in the same order every time, outside branches.
        """
        turned = self._turned.get(self.seat.first, 0)
        if turned == len(self.dials):
            weight = next(self.parameters())
            self.dials.append((torch.full((), value(self.clock), dtype=weight.dtype, device=weight.device), value))
        self._turned[self.seat.first] = turned + 1
        return self.dials[turned][0]

    def open(self, clock: Clock) -> None:
        """The engine's call before a round: sets the clock and turns the dials to it."""
        self.clock, self.asked, self._turned = clock, [], {}
        for dial, value in self.dials:
            dial.fill_(value(clock))

    def note(self, **values: Tensor) -> None:
        """Logs what is not a loss; stays on the device until the tick."""
        self.notes |= {name: value.detach() for name, value in values.items()}

    def normal(self, n: int, *shape: int) -> Tensor:
        """Standard normal noise [n, *shape] for this share's rows: noise belongs to the image, not to the rank."""
        return self._share(torch.randn, n, *shape)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Uniform noise in [0, 1), [n, *shape], for this share's rows."""
        return self._share(torch.rand, n, *shape)

    def __getattr__(self, name: str) -> Any:
        if name in VERBS:
            able = ", ".join(verbs_of(type(self))) or "no verbs"
            raise MissingVerb(f"A game of {type(self).__name__} cannot {name}: it has {able}.")
        return super().__getattr__(name)

    def __repr__(self) -> str:
        """One line: the system, its data, its width and size. The nets inside print as torch prints them."""
        fields = self.schema.fields.items() if self.schema is not None else ()
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in fields if shape)
        width = getattr(getattr(self, "config", None), "width", None)
        weights = sum(p.numel() for p in self.parameters())
        facts = [
            f"{self.data} {shapes.removeprefix('image ') if self.data else shapes}".strip(),
            f"width {width}" if width else "",
            f"{weights / 1e6:.1f} M parameters" if weights >= 1e5 else f"{weights:,} parameters",
        ]
        return f"{type(self).__name__}({', '.join(filter(None, facts))})"

    def _share(self, draw: Callable[..., Tensor], n: int, *shape: int) -> Tensor:
        weight, seat = next(self.parameters()), self.seat
        each, odd = divmod(n, seat.count)
        if odd:
            raise ValueError(f"{n} draws cannot be shared out over {seat.count} images")
        whole = draw(seat.total * each, *shape, generator=seat.noise, dtype=weight.dtype, device=weight.device)
        return whole[seat.first * each :][:n]


def wide(x: Tensor) -> Tensor:
    """``x`` in at least fp32: what every loss does first. (``.float()`` would cut float64 tests down.)"""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Their weights are constants inside. Never yield inside."""
    live = [p for net in nets for p in net.parameters() if p.requires_grad]
    try:
        for p in live:
            p.requires_grad_(False)
        yield
    finally:
        for p in live:
            p.requires_grad_(True)


@contextmanager
def exactly(device: str = "cpu") -> Iterator[None]:
    """fp32, eager, gradients on: for double backward and spectra, also in a validation pass."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def noise(
    n: int,
    dims: int,
    *,
    seed: int,
    first: int = 0,
    purpose: Purpose = Purpose.SAMPLE,
    truncation: float | None = None,
) -> Tensor:
    """Standard normal noise [n, dims] for verbs, float32 on the CPU; row i depends on (seed, first + i) alone.

    With ``truncation`` T > 0 the normal is truncated to [-T, T] (Brock et al. 2019, 1809.11096, section 3.1), by the
    inverse of its distribution function, so that a row stays a pure function of its seed.
    """
    rows = torch.empty(n, dims)
    generator = torch.Generator()
    for i, row in enumerate(rows):
        generator.manual_seed(stream(seed, first + i, purpose))
        row.normal_(generator=generator)
    if truncation is not None:
        if not truncation > 0:
            raise ValueError(f"truncation must be positive, not {truncation}")
        normal = torch.special.ndtr(rows.double())  # uniform in (0, 1)
        low, high = torch.special.ndtr(torch.tensor([-truncation, truncation], dtype=torch.float64))
        rows = torch.special.ndtri(low + normal * (high - low)).clamp_(-truncation, truncation).float()
    return rows
