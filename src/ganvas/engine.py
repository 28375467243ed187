"""Plays rounds: shares, precision, gradients per player, clip, step, average, logs. No file, no data, no paper."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ganvas import parallel
from ganvas.game import Clock, Game, Move, Player, Seat, Turn, wide
from ganvas.streams import Purpose, stream

Batch = Mapping[str, Tensor]
Grads = list[Tensor | None]


class RuleError(RuntimeError):
    """A round broke a rule of the game."""


@dataclass
class _Purse:
    """A player at work: its weights, its optimiser, and the first step at which its gradient was not finite (or -1)."""

    name: str
    player: Player
    weights: list[nn.Parameter]
    optimiser: torch.optim.Optimizer
    rates: list[float]  # the recipe's learning rates, which the schedule multiplies
    broke: Tensor


@contextmanager
def _ruled() -> Iterator[None]:
    """Puts autograd's complaints about a graph that outlived its turn into the words of the game."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if "modified by an inplace operation" in text or "backward through the graph a second time" in text:
            raise RuleError(
                "a graph serves one turn, but this one was walked after a player of an earlier turn had moved or "
                "freed it: yield the moves together as a tuple, or run the forward pass again after the yield"
            ) from error
        if "element 0 of tensors does not require grad" in text:
            raise RuleError("a move's loss depends on no weight at all") from error
        raise


def _reseed(device: torch.device, seed: int) -> None:
    """Seeds the global generators of the CPU and of ``device``. (`torch.manual_seed` looks for every other device too,
    and formats the stack for those not in use: 0.1 ms.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


class Engine:
    """Plays the rounds of one game.

    game: its weights are on the device already. seed: of all noise. shares: micro-batches a batch is split into.
    precision: autocast to this dtype (None: as the weights are). compile: the nets' ``forward``.
    steps_per_epoch, total_steps: what schedules read off the clock.
    """

    def __init__(
        self,
        game: Game,
        *,
        seed: int = 0,
        shares: int = 1,
        precision: torch.dtype | None = None,
        compile: bool = False,
        steps_per_epoch: int = 1,
        total_steps: int = 1,
    ) -> None:
        self.game = game.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
        self.seed, self.shares, self.precision = seed, shares, precision
        self.clock = Clock(0, steps_per_epoch, total_steps)
        self.device = next(game.parameters()).device
        parallel.broadcast([*game.parameters(), *game.buffers()])
        self.purses = {name: self._purse(name, player) for name, player in game.players().items()}
        self._by_player = {id(purse.player): purse for purse in self.purses.values()}
        self._modules = list(game.modules())
        self._generators = [torch.Generator(self.device) for _ in range(shares)]
        parameters = inspect.signature(game.round).parameters.values()
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._fields = {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}
        self._averaged = self._copy()
        self._averages = self._pair()
        self._blends = {decay: torch.zeros((), device=self.device) for decay, _, _ in self._averages}
        self._step = torch.zeros((), device=self.device)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}
        if compile:
            torch._functorch.config.donated_buffer = False  # a graph may be walked by several players
            for net in game.children():
                net.compile(dynamic=False)

    def _purse(self, name: str, player: Player) -> _Purse:
        weights = player.weights()
        optimiser = player.recipe(weights)
        rates = [float(group["lr"]) for group in optimiser.param_groups]
        return _Purse(name, player, weights, optimiser, rates, torch.full((), -1.0, device=self.device))

    def _purse_of(self, move: Move) -> _Purse:
        try:
            return self._by_player[id(move.player)]
        except KeyError:
            raise RuleError(f"a move of a player that is no attribute of the game: {list(move.terms)}") from None

    def _copy(self) -> Game:
        """A deep copy of the game that shares every net without an averaged module in it."""
        averaged = {
            id(module)
            for player in self.game.players().values()
            if player.ema is not None
            for net in player.nets
            for module in net.modules()
        }
        shared: dict[int, Any] = {}
        for module in self.game.modules():
            if id(module) in averaged:
                continue
            for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                shared[id(tensor)] = tensor
            if module is not self.game and not any(id(inner) in averaged for inner in module.modules()):
                shared[id(module)] = module
        twin: Game = copy.deepcopy(self.game, shared)
        return twin

    def _pair(self) -> list[tuple[float, nn.Module, nn.Module]]:
        """Decay, net and its average, for every averaged net: once, though several players may hold it."""
        pairs: dict[int, tuple[float, nn.Module, nn.Module]] = {}
        for name, player in self.game.players().items():
            if player.ema is not None:
                for net, twin in zip(player.nets, self._averaged.players()[name].nets, strict=True):
                    decay = pairs.setdefault(id(net), (player.ema, net, twin))[0]
                    if decay != player.ema:
                        raise RuleError(
                            f"{name} averages by {player.ema} a net that another player averages by {decay}"
                        )
        return list(pairs.values())

    @property
    def averaged(self) -> Game:
        """A Game of the averaged weights, ready for its verbs: in eval mode (the next step returns what is shared)."""
        return self._averaged.eval()

    @torch.no_grad()
    def start_average(self) -> None:
        """Sets the averages to the weights as they are: after weights were put in from elsewhere."""
        for _, net, twin in self._averages:
            twin.load_state_dict(net.state_dict())

    # ---- one batch ---------------------------------------------------------------------------------------------------
    def step(self, batch: Batch) -> list[tuple[str, ...]]:
        """Plays one round on this rank's rows. Returns the turns played, each as the names of its players.

        Raises RuleError when the round breaks a rule.
        """
        if not all(module.training for module in self._modules):  # the average shares nets, and its verbs want them so
            self.game.train()
        self._wind()
        rounds = self._open(batch, None)
        played: list[tuple[str, ...]] = []
        while True:
            gathered: dict[str, Grads] = {}
            turns: list[tuple[str, ...] | None] = []
            for seat, round_ in rounds:  # each share goes backward before the next goes forward: the memory of one
                turn = self._advance(seat, round_)
                turns.append(None if turn is None else tuple(self._purse_of(move).name for move in turn))
                for i, move in enumerate(turn or (), start=1):
                    self._backward(move, gathered, last=i == len(turn or ()))
            if any(turn != turns[0] for turn in turns):
                raise RuleError(f"shares of one batch played different turns: {turns}")
            if turns[0] is None:
                break
            for name, grads in gathered.items():
                self._move(self.purses[name], grads)
            played.append(turns[0])
        self._average()
        self.clock = replace(self.clock, step=self.clock.step + 1)
        return played

    def _wind(self) -> None:
        """Puts the numbers of this round, learning rates and weights of averages, where it reads them on the device:
        a captured graph would find them there."""
        step = self.clock.step
        self._step.fill_(step)
        for purse in self.purses.values():
            factor = purse.player.schedule(self.clock)
            for group, rate in zip(purse.optimiser.param_groups, purse.rates, strict=True):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * factor)
                else:
                    group["lr"] = rate * factor
        for decay, blend in self._blends.items():
            blend.fill_(1 - min(decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def evaluate(self, batch: Batch, index: int) -> None:
        """The same round with nobody moving, on validation batch ``index``; its terms are logged under ``valid/``."""
        self.game.eval()
        try:
            for seat, round_ in self._open(batch, index):
                while turn := self._advance(seat, round_, "valid/"):
                    for move in turn:
                        self._log_terms(move, "valid/")
        finally:
            self.game.train()

    def _open(self, batch: Batch, valid: int | None) -> list[tuple[Seat, Iterator[Turn]]]:
        """Opens the round once a share; seeds its noise and the global generator."""
        if missing := [name for name, needed in self._fields.items() if needed and name not in batch]:
            raise RuleError(f"the round plays with {', '.join(missing)}, but the batch has only {', '.join(batch)}")
        batch = {name: v for name, v in batch.items() if self._takes_all or name in self._fields}
        if not batch:
            raise RuleError(f"the batch has nothing that the round plays with: {', '.join(self._fields)}")
        rows, rank, world = len(next(iter(batch.values()))), parallel.rank(), parallel.world()
        count, odd = divmod(rows, self.shares)
        if odd:
            raise RuleError(f"{rows} rows do not split into {self.shares} shares")
        step, index = self.clock.step, 0 if valid is None else valid
        dropout, noise = (
            (Purpose.DROPOUT, Purpose.NOISE) if valid is None else (Purpose.VALID_DROPOUT, Purpose.VALID_NOISE)
        )
        _reseed(self.device, stream(self.seed, step, dropout, index * world + rank))
        seed = stream(self.seed, step, noise, index)
        self.game.open(self.clock)
        rounds = []
        for i, generator in enumerate(self._generators):
            seat = Seat(rank * rows + i * count, count, rows * world, generator.manual_seed(seed))
            share = batch if self.shares == 1 else {k: v[i * count :][:count] for k, v in batch.items()}
            rounds.append((seat, self.game.round(**share)))
        return rounds

    def _advance(self, seat: Seat, round_: Iterator[Turn], prefix: str = "") -> tuple[Move, ...] | None:
        """Runs a share up to its next turn, under autocast; None at the end of the round."""
        self.game.seat, self.game.notes = seat, {}
        # autocast is left again before anyone moves: its cache of cast weights would go stale
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None), _ruled():
            turn = next(round_, None)
        for name, value in self.game.notes.items():
            self._log(prefix + name, value)
        return (turn,) if isinstance(turn, Move) else turn

    def _backward(self, move: Move, gathered: dict[str, Grads], *, last: bool) -> None:
        """Adds the move's gradient to its player's purse. ``.grad`` is lent to one player at a time, so that players
        who share a net stay apart."""
        purse = self._purse_of(move)
        self._log_terms(move, "")
        if purse.name in gathered:
            for p, g in zip(purse.weights, gathered[purse.name], strict=True):
                p.grad = g
        loss = move.loss() if self.shares == 1 else move.loss() / self.shares
        with _ruled():
            torch.autograd.backward(loss, inputs=purse.weights, retain_graph=not last)
        gathered[purse.name] = grads = [p.grad for p in purse.weights]
        for p in purse.weights:
            p.grad = None
        if all(g is None for g in grads):
            raise RuleError(f"no weight of {purse.name} is reached by its terms {list(move.terms)}")

    def _move(self, purse: _Purse, grads: Grads) -> None:
        """Averages over ranks, logs the norm, clips, and steps."""
        player, optimiser = purse.player, purse.optimiser
        present = [g for g in grads if g is not None]
        parallel.average(present)
        norm = nn.utils.get_total_norm(present)
        self._log(f"{purse.name}/gradient_norm", norm, whole=True)
        purse.broke.copy_(torch.where((purse.broke < 0) & ~norm.isfinite(), self._step, purse.broke))
        for p, g in zip(purse.weights, grads, strict=True):
            p.grad = g
        if player.clip is not None:
            nn.utils.clip_grads_with_norm_(purse.weights, player.clip, norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _average(self) -> None:
        """Once a round, whoever moved: a net that joins late, or moves five times, is averaged like any other."""
        for decay, net, twin in self._averages:
            mean: list[Tensor] = list(twin.parameters())
            live: list[Tensor] = list(net.parameters())
            torch._foreach_lerp_(mean, live, [self._blends[decay]] * len(mean))
            for theirs, ours in zip(twin.buffers(), net.buffers(), strict=True):
                theirs.copy_(ours)

    # ---- logs: on the device until the tick --------------------------------------------------------------------------
    def _log_terms(self, move: Move, prefix: str) -> None:
        name = self._purse_of(move).name
        for key, term in move.terms.items():
            self._log(f"{prefix}{name}/{key}", term if isinstance(term, Tensor) else term[1])

    def _log(self, key: str, value: Tensor, *, whole: bool = False) -> None:
        """Adds a share's value (or the whole batch's) to the mean that the next tick reports."""
        weight = 1.0 if whole else 1 / self.shares
        value = wide(value.detach())  # a sum of many bf16 numbers would be worth nothing
        if weight != 1:
            value = value * weight
        self._sums[key] = self._sums[key] + value if key in self._sums else value.clone()  # it may be a dial
        self._counts[key] = self._counts.get(key, 0.0) + weight

    def tick(self) -> dict[str, float]:
        """The one host sync: the mean of every named value since the last tick.

        Raises FloatingPointError, naming player, step and terms, if a gradient has been non-finite.
        """
        values = [*self._sums.values(), *(purse.broke for purse in self.purses.values())]
        stacked = torch.stack([v.double() if v.device.type != "mps" else v.float() for v in values])
        n = len(self._sums)
        parallel.average([stacked[:n]])
        numbers = stacked.tolist()
        means = {key: value / self._counts[key] for key, value in zip(self._sums, numbers, strict=False)}
        self._sums, self._counts = {}, {}
        self._check(numbers[n:], means)
        return means

    def check(self) -> None:
        """Raises FloatingPointError if a gradient has been non-finite, as `tick` does; the sums go on."""
        self._check([float(purse.broke) for purse in self.purses.values()], {})

    def _check(self, broke: Sequence[float], means: Mapping[str, float]) -> None:
        for purse, step in zip(self.purses.values(), broke, strict=True):
            if step >= 0:
                odd = [key for key, value in means.items() if value - value != 0]
                raise FloatingPointError(
                    f"the gradient of {purse.name} was not finite at step {int(step)}"
                    + (f" (not finite since the last tick: {', '.join(odd)})" if odd else "")
                )

    # ---- everything an exact resume needs ----------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """``weights`` and ``average`` (tensors by name), ``memory`` (this rank's non-persistent buffers), ``state``."""
        weights = self.game.state_dict()
        return {
            "weights": weights,
            "average": self._averaged.state_dict(),
            "memory": {name: buffer for name, buffer in self.game.named_buffers() if name not in weights},
            "state": {
                "step": self.clock.step,
                "optimisers": {name: purse.optimiser.state_dict() for name, purse in self.purses.items()},
                "sums": self._sums,
                "counts": self._counts,
            },
        }

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Takes up where `state_dict` left off. Copies in place, so that layouts stay as they are.

        Of ``average`` only the weights are read: an average's buffers are its net's, though a checkpoint may hold
        calibrated ones.
        """
        self.game.load_state_dict(saved["weights"])
        for name, buffer in self.game.named_buffers():
            if name in saved["memory"]:
                buffer.copy_(saved["memory"][name])
        for _, net, twin in self._averages:
            for theirs, ours in zip(twin.buffers(), net.buffers(), strict=True):
                theirs.copy_(ours)
        raw = {id(p) for p in self.game.parameters()}
        for name, p in self._averaged.named_parameters():
            if id(p) not in raw:
                p.copy_(saved["average"][name])
        state = saved["state"]
        for name, purse in self.purses.items():
            rates = [group["lr"] for group in purse.optimiser.param_groups]
            purse.optimiser.load_state_dict(state["optimisers"][name])
            for group, rate in zip(purse.optimiser.param_groups, rates, strict=True):
                group["lr"] = rate  # its own scalar again, which the next move fills
        self._sums = {key: value.to(self.device) for key, value in state["sums"].items()}
        self._counts = dict(state["counts"])
        self.clock = replace(self.clock, step=state["step"])
