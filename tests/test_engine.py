"""What the engine promises, on toys: every claim of equality in float64 or bit for bit."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toys
from ganvas.engine import Engine, RuleError
from ganvas.game import Clock, Game, Player, Turn, frozen, minimise
from ganvas.optim import adam
from ganvas.streams import Purpose, stream
from toys import ROWS, TOYS, Alternate, Normed, Penalised, Remembering, Sharing, Simultaneous, Stages, Toy, Z

F64 = torch.float64
every_toy = pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.__name__)


def sgd(lr: float) -> Any:
    return functools.partial(torch.optim.SGD, lr=lr)


class Line(Toy):
    """One weight w, one number a row: small enough to follow by hand."""

    def __init__(self, recipe: Any = None, **handle: Any) -> None:
        super().__init__()
        self.N = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.N.weight)
        self.player = Player((self.N,), recipe or sgd(0.5), **handle)

    @staticmethod
    def row() -> dict[str, tuple[int, ...]]:
        return {"vector": (1,)}

    def round(self, vector: Tensor) -> Iterator[Turn]:
        yield minimise(self.player, product=self.N(vector).mean())


# ---- resume ----------------------------------------------------------------------------------------------------------
def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@every_toy
def test_resume_is_exact(toy: type[Toy]) -> None:
    """13 rounds equal 7 + 6 through a file, bit for bit, in every tensor that a run carries on, and in the logs."""
    whole, first = toys.build(toy), toys.build(toy)
    toys.play(whole, toy, 0, 13)
    toys.play(first, toy, 0, 7)
    second = toys.build(toy, weights=99)
    second.load_state_dict(through_a_file(first.state_dict()))
    torch.rand(77)  # whatever the process drew in between must not matter
    toys.play(second, toy, 7, 13)
    assert toys.differing(toys.everything(whole), toys.everything(second)) == []
    assert whole.tick() == second.tick()
    assert whole.clock == second.clock


def test_resume_keeps_layouts_and_learning_rates_in_place() -> None:
    engine = toys.build(Alternate)
    rates = [purse.optimiser.param_groups[0]["lr"] for purse in engine.purses.values()]
    other = toys.build(Alternate, weights=1)
    toys.play(other, Alternate, 0, 3)
    engine.load_state_dict(through_a_file(other.state_dict()))
    toys.play(engine, Alternate, 3, 4)
    for purse, rate in zip(engine.purses.values(), rates, strict=True):
        assert purse.optimiser.param_groups[0]["lr"] is rate  # a captured graph reads this very scalar
        for weight in purse.weights:
            assert purse.optimiser.state[weight]["exp_avg"].stride() == weight.stride()
    assert engine.game.G.conv.weight.is_contiguous(memory_format=torch.channels_last)


# ---- players stay apart ----------------------------------------------------------------------------------------------
@every_toy
def test_only_the_mover_moves(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = toys.build(toy, F64)
    move, moves = engine._move, []

    def watched(purse: Any, grads: Any) -> None:
        before = {name: weight.detach().clone() for name, weight in engine.game.named_parameters()}
        move(purse, grads)
        own = {id(weight) for weight in purse.weights}
        moved = {name for name, weight in engine.game.named_parameters() if not torch.equal(weight, before[name])}
        others = {name for name, weight in engine.game.named_parameters() if id(weight) not in own}
        assert moved
        assert not moved & others
        assert all(weight.grad is None for weight in engine.game.parameters())
        moves.append(purse.name)

    monkeypatch.setattr(engine, "_move", watched)
    played = toys.play(engine, toy, 0, 8, F64)
    assert moves == [name for turns in played for turn in turns for name in turn]
    assert set(moves) == set(engine.game.players())
    assert all(weight.grad is None for weight in engine.game.parameters())


def test_simultaneous_turn_equals_three_forward_passes_by_hand() -> None:
    """Textbook: for each player a forward pass of its own over the old weights, its gradient alone; then all step."""
    engine = toys.build(Simultaneous, F64)
    torch.manual_seed(0)
    hand = Simultaneous().double()
    nets = (hand.E, hand.G, hand.D)
    optimisers = [adam(1e-3, (0.5, 0.999))(list(net.parameters())) for net in nets]
    for step in range(6):
        image = toys.batch(Simultaneous, step, F64)["image"]
        noise = torch.Generator().manual_seed(stream(5, step, Purpose.NOISE))
        eps, z_p = (torch.randn(ROWS, Z, generator=noise, dtype=F64) for _ in range(2))
        grads = []
        for net, player in zip(nets, range(3), strict=True):
            hand.zero_grad()
            terms = hand.losses(image, eps, z_p, ROWS)[player].values()
            sum(term if isinstance(term, Tensor) else term[0] * term[1] for term in terms).backward()
            grads.append([weight.grad for weight in net.parameters()])
        for net, own, optimiser in zip(nets, grads, optimisers, strict=True):
            for weight, grad in zip(net.parameters(), own, strict=True):
                weight.grad = grad
            optimiser.step()
        engine.step({"image": image})
    assert toys.differing(engine.game.state_dict(), hand.state_dict(), 1e-12) == []


def test_sequential_turns_equal_a_loop_by_hand() -> None:
    engine = toys.build(Alternate, F64)
    torch.manual_seed(0)
    hand = Alternate().double()
    steppers = {
        net: player.recipe(player.weights()) for net, player in ((hand.G, hand.generator), (hand.D, hand.critic))
    }
    for step in range(9):
        image = toys.batch(Alternate, step, F64)["image"]
        noise = torch.Generator().manual_seed(stream(5, step, Purpose.NOISE))
        z = torch.randn(ROWS, Z, generator=noise, dtype=F64)

        def move(net: nn.Module, loss: Tensor, clip: float = math.inf) -> None:
            hand.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), clip)
            steppers[net].step()

        move(hand.D, toys.bce(hand.D(image), 1) + toys.bce(hand.D(hand.G(z).detach()), 0), clip=0.3)
        if step % 4 == 3:
            move(hand.D, 2 * toys.slope(hand.D, image, 0.0), clip=0.3)
        move(hand.G, toys.bce(hand.D(hand.G(z)), 1))
        engine.step({"image": image})
    assert toys.differing(engine.game.state_dict(), hand.state_dict(), 1e-12) == []


def test_players_who_share_a_net_keep_their_gradients_apart() -> None:
    engine = toys.build(Sharing, F64)
    for purse, rate in zip(engine.purses.values(), (0.1, 0.01), strict=True):
        purse.optimiser = torch.optim.SGD(purse.weights, rate)
        purse.rates = [rate]
    game, vector = engine.game, toys.batch(Sharing, 0, F64)["vector"]
    before = game.T.weight.detach().clone()
    h = torch.tanh(game.T(vector))
    (size,) = torch.autograd.grad(h.square().mean(), game.T.weight, retain_graph=True)
    (head,) = torch.autograd.grad(-5 * game.H(h).mean(), game.T.weight)
    assert engine.step({"vector": vector}) == [("trunk", "whole")]
    torch.testing.assert_close(game.T.weight.detach(), before - 0.1 * size - 0.01 * head, rtol=0, atol=1e-15)


# ---- shares ----------------------------------------------------------------------------------------------------------
@every_toy
def test_shares_equal_the_whole(toy: type[Toy]) -> None:
    """One share or four: the same weights and the same logs, weights of terms that grow with the batch included."""
    if toy.meet:
        pytest.skip(toy.meet)
    whole, shared = toys.build(toy, F64), toys.build(toy, F64, shares=4)
    for engine in (whole, shared):
        toys.play(engine, toy, 0, 12, F64)
        engine.evaluate(toys.batch(toy, 99, F64), index=0)
    assert toys.differing(toys.everything(whole), toys.everything(shared), 1e-11) == []
    logs, others = whole.tick(), shared.tick()
    assert logs.keys() == others.keys()
    assert all(math.isclose(logs[key], others[key], abs_tol=1e-11) for key in logs)


# ---- averages --------------------------------------------------------------------------------------------------------
@every_toy
def test_averages_warm_up_and_follow_their_nets(toy: type[Toy]) -> None:
    """mean += (1 - min(decay, (1 + t) / (10 + t))) (weight - mean), once a round, by whichever player it moved."""
    engine = toys.build(toy, F64)
    averaged = {
        name: player.ema
        for player in engine.game.players().values()
        if player.ema is not None
        for name, weight in engine.game.named_parameters()
        if any(weight is other for other in player.weights())
    }
    means = {name: weight.detach().clone() for name, weight in engine.game.named_parameters()}
    for t in range(12):
        engine.step(toys.batch(toy, t, F64))
        for name, weight in engine.game.named_parameters():
            decay = min(averaged[name], (1 + t) / (10 + t)) if name in averaged else 0.0
            means[name].lerp_(weight.detach(), 1 - decay)
    twins = dict(engine.averaged.named_parameters())
    assert toys.differing(means, twins, 1e-7) == []  # the blend itself is a float32 scalar
    for name, weight in engine.game.named_parameters():
        assert (twins[name] is weight) == (name not in averaged)
    assert toys.differing(dict(engine.game.named_buffers()), dict(engine.averaged.named_buffers())) == []


def test_reading_the_average_does_not_change_training() -> None:
    """The average shares the critic and wants it in eval mode; the critic still trains by batch statistics."""
    plain, read = toys.build(Normed), toys.build(Normed)
    for step in range(4):
        assert not any(module.training for module in read.averaged.modules())
        for engine in (plain, read):
            engine.step(toys.batch(Normed, step))
    assert toys.differing(toys.everything(plain), toys.everything(read)) == []
    assert int(plain.game.D.norm.num_batches_tracked) == 4 * 3 + 1  # three passes a round, and one under the penalty


def test_one_net_cannot_have_two_averages() -> None:
    class Torn(Stages):
        def __init__(self) -> None:
            super().__init__()
            self.second = Player((self.G,), adam(1e-3), ema=0.99)

    with pytest.raises(RuleError, match=r"second averages by 0\.99 a net that another player averages by 0\.9"):
        toys.build(Torn)


# ---- norms, clips, rates ---------------------------------------------------------------------------------------------
def test_clips_to_the_norm_and_logs_the_norm_before() -> None:
    engine = toys.build(lambda: Line(clip=0.5), F64)
    engine.step({"vector": torch.full((4, 1), 3.0, dtype=F64)})  # gradient 3, clipped to 0.5, learning rate 0.5
    assert math.isclose(engine.game.N.weight.item(), 1 - 0.25, abs_tol=1e-6)
    assert engine.tick() == {"player/product": 3.0, "player/gradient_norm": 3.0}


def test_norms_are_of_the_whole_gradient() -> None:
    engine = toys.build(Alternate, F64)
    image = toys.batch(Alternate, 0, F64)["image"]
    noise = torch.Generator().manual_seed(stream(5, 0, Purpose.NOISE))
    fake = engine.game.G(torch.randn(ROWS, Z, generator=noise, dtype=F64)).detach()
    loss = toys.bce(engine.game.D(image), 1) + toys.bce(engine.game.D(fake), 0)
    grads = torch.autograd.grad(loss, list(engine.game.D.parameters()))
    engine.step({"image": image})
    want = math.sqrt(sum(grad.square().sum().item() for grad in grads))
    assert math.isclose(engine.tick()["critic/gradient_norm"], want, rel_tol=1e-12)


@pytest.mark.parametrize("recipe", [adam(0.25), sgd(0.25)], ids=["tensor", "number"])
def test_schedules_multiply_the_recipes_rate(recipe: Any) -> None:
    engine = toys.build(lambda: Line(recipe, schedule=lambda clock: 1 - clock.step / clock.total_steps))
    group = engine.purses["player"].optimiser.param_groups[0]
    rate = group["lr"]
    for step in range(5):
        engine.step(toys.batch(Line, step))
        assert float(group["lr"]) == pytest.approx(0.25 * (1 - step / 20))
    assert not isinstance(rate, Tensor) or group["lr"] is rate  # filled in place, for captured graphs


# ---- precision -------------------------------------------------------------------------------------------------------
@every_toy
def test_plays_in_bfloat16(toy: type[Toy]) -> None:
    full, half = toys.build(toy), toys.build(toy, precision=torch.bfloat16)
    for engine in (full, half):
        toys.play(engine, toy, 0, 5)
    want, got = full.tick(), half.tick()
    assert want.keys() == got.keys()
    assert all(got[key] == pytest.approx(want[key], rel=0.1, abs=0.1) for key in want)
    assert all(weight.dtype == torch.float32 for weight in half.game.parameters())


def test_autocast_is_left_before_anyone_moves() -> None:
    """Else the second turn would be played with the cached, stale cast of the weight that has just moved."""
    inside = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            inside.append(torch.is_autocast_enabled("cpu"))
            return super().step(closure)

    class Twice(Line):
        def round(self, vector: Tensor) -> Iterator[Turn]:
            yield minimise(self.player, first=self.N(vector).mean())
            yield minimise(self.player, second=self.N(vector).mean())

    engine = toys.build(lambda: Twice(functools.partial(Watched, lr=0.5)), precision=torch.bfloat16)
    engine.step({"vector": torch.ones(4, 1)})  # w: 1 -> 0.5 -> 0
    assert inside == [False, False]
    logs = engine.tick()
    assert (logs["player/first"], logs["player/second"]) == (1.0, 0.5)


# ---- time ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shares", [1, 2])
def test_dials_are_right_on_every_step_and_after_a_resume(shares: int) -> None:
    engine = toys.build(toys.Dials, F64, shares=shares)
    dials: list[int] = []
    for step in range(9):
        if step == 5:
            other = toys.build(toys.Dials, F64, shares=shares)
            other.load_state_dict(through_a_file(engine.state_dict()))
            engine, dials = other, []
        engine.evaluate(toys.batch(toys.Dials, 99, F64), index=0)  # runs each share to its end before the next
        engine.step(toys.batch(toys.Dials, step, F64))
        logs = engine.tick()
        for key, want in {"rising": step / 20, "falling": 100.0 - step}.items():
            assert logs[key] == logs[f"valid/{key}"] == pytest.approx(want, abs=1e-12)
        dials = dials or [id(dial) for dial, _ in engine.game.dials]
        assert [id(dial) for dial, _ in engine.game.dials] == dials
    assert len(dials) == 2


def test_what_a_round_asks_predicts_its_turns() -> None:
    """The answers to a round's questions are known without running it, and fix what it plays: keys of graphs."""
    for toy in TOYS:
        engine = toys.build(toy)
        tree: dict[Any, Any] = {}
        graphs: dict[tuple[bool, ...], Any] = {}
        for step in range(14):
            key, node = [], tree
            while "ask" in node:
                key.append(node["ask"](engine.clock))
                node = node.setdefault(key[-1], {})
            played = engine.step(toys.batch(toy, step))
            node, asked = tree, []
            for question, answer in engine.game.asked:
                node.setdefault("ask", question)
                asked.append(answer)
                node = node.setdefault(answer, {})
            if tuple(key) in graphs:
                assert (asked, played) == (key, graphs[tuple(key)])
            graphs[tuple(asked)] = played
        assert len(graphs) == {Alternate: 2, Normed: 2, Penalised: 2, Stages: 2}.get(toy, 1)


def test_clock_counts_rounds_and_epochs() -> None:
    engine = toys.build(Line)
    toys.play(engine, Line, 0, 7)
    assert engine.clock == Clock(7, 3, 20)
    assert engine.clock.epoch == 2


# ---- validation ------------------------------------------------------------------------------------------------------
def test_validation_plays_every_turn_and_logs_apart() -> None:
    engine = toys.build(Penalised)
    engine.step(toys.batch(Penalised, 0))  # the generator would not move for two more rounds
    engine.evaluate(toys.batch(Penalised, 50), index=0)
    logs = engine.tick()
    assert "generator/fool" not in logs
    assert {"valid/generator/fool", "valid/critic/penalty"} < logs.keys()
    assert not any(key.endswith("gradient_norm") for key in logs if key.startswith("valid/"))


@every_toy
def test_validation_changes_nothing(toy: type[Toy]) -> None:
    """Neither weights nor buffers nor memory at once, nor a bit of the training that follows."""
    plain, validated = toys.build(toy), toys.build(toy)
    for step in range(6):
        before = toys.everything(validated)
        for index in range(2):
            validated.evaluate(toys.batch(toy, 50 + index), index)
        after = {name: value for name, value in toys.everything(validated).items() if not name.startswith("log/valid/")}
        before = {name: value for name, value in before.items() if not name.startswith("log/valid/")}
        assert toys.differing(before, after) == []
        for engine in (plain, validated):
            engine.step(toys.batch(toy, step))
    logs = validated.tick()
    assert plain.tick() == {key: value for key, value in logs.items() if not key.startswith("valid/")}
    assert all(math.isfinite(value) for value in logs.values())


def test_validation_noise_belongs_to_its_index() -> None:
    engine = toys.build(Simultaneous, F64)
    figures = []
    for index in (0, 1, 0):
        engine.evaluate(toys.batch(Simultaneous, 50, F64), index)
        figures.append(engine.tick()["valid/critic/fake"])
    assert figures[0] == figures[2] != figures[1]


def test_a_broken_validation_round_leaves_the_game_in_training() -> None:
    engine = toys.build(Line)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        engine.evaluate({"vector": torch.zeros(4, 2)}, index=0)
    assert engine.game.training


# ---- logs ------------------------------------------------------------------------------------------------------------
def test_a_tick_reports_means_since_the_last() -> None:
    engine = toys.build(Line, F64)
    vectors = [torch.full((2, 1), float(value), dtype=F64) for value in (1, 2, 4)]
    engine.step({"vector": vectors[0]})  # w = 1 -> 0.5
    engine.step({"vector": vectors[1]})  # w = 0.5 -> -0.5
    assert engine.tick() == {"player/product": 1.0, "player/gradient_norm": 1.5}
    engine.step({"vector": vectors[2]})
    assert engine.tick() == {"player/product": -2.0, "player/gradient_norm": 4.0}
    assert engine.tick() == {}


def test_sums_of_logs_are_at_least_float32() -> None:
    class Rounded(Line):
        def round(self, vector: Tensor) -> Iterator[Turn]:
            self.note(count=torch.tensor(1.0, dtype=torch.bfloat16))
            yield from super().round(vector)

    engine = toys.build(lambda: Rounded(sgd(0.0)))
    toys.play(engine, Line, 0, 400)  # bf16 counts no further than 256
    assert engine.tick()["count"] == 1.0


def test_names_player_step_and_terms_that_broke() -> None:
    engine = toys.build(Alternate)
    for step in range(6):
        batch = toys.batch(Alternate, step)
        if step == 3:
            batch["image"][0, 0, 0, 0] = math.nan
        engine.step(batch)
    with pytest.raises(FloatingPointError) as caught:
        engine.tick()
    assert "the gradient of generator was not finite at step 3" in str(caught.value) or "critic" in str(caught.value)
    assert "at step 3 " in str(caught.value)
    assert "critic/real" in str(caught.value)


def test_an_infinite_gradient_of_a_finite_loss_is_named() -> None:
    class Steep(Line):
        def round(self, vector: Tensor) -> Iterator[Turn]:
            yield minimise(self.player, root=(self.N(vector) - self.N(vector)).abs().mean().sqrt())

    engine = toys.build(Steep)
    engine.step(toys.batch(Line, 0))
    with pytest.raises(FloatingPointError, match=r"gradient of player was not finite at step 0 .*player/gradient_norm"):
        engine.tick()


# ---- the rules -------------------------------------------------------------------------------------------------------
def rounds(play: Any) -> type[Toy]:
    """A game of `Alternate`'s nets with another round."""
    return type("Broken", (Alternate,), {"round": play})


def reused_graph(game: Any, image: Tensor) -> Iterator[Turn]:
    score = game.D(game.G(game.normal(len(image), Z)))
    yield minimise(game.critic, fake=score.mean())
    yield minimise(game.generator, fool=-score.mean())


def unreached(game: Any, image: Tensor) -> Iterator[Turn]:
    yield minimise(game.generator, real=toys.bce(game.D(image), 1))


def no_weight_at_all(game: Any, image: Tensor) -> Iterator[Turn]:
    with frozen(game.D):
        score = game.D(image)
    yield minimise(game.critic, real=score.mean())


def uneven(game: Any, image: Tensor) -> Iterator[Turn]:
    yield minimise(game.critic, real=toys.bce(game.D(image), 1))
    if game.seat.first == 0:
        yield minimise(game.generator, fool=-game.D(game.G(game.normal(len(image), Z))).mean())


def stranger(game: Any, image: Tensor) -> Iterator[Turn]:
    yield minimise(Player((game.D,), adam(1e-3)), real=toys.bce(game.D(image), 1))


@pytest.mark.parametrize(
    ("play", "shares", "sentence"),
    [
        (reused_graph, 1, "a graph serves one turn.*yield the moves together as a tuple"),
        (unreached, 1, r"no weight of generator is reached by its terms \['real'\]"),
        (no_weight_at_all, 1, "a move's loss depends on no weight at all"),
        (uneven, 2, "shares of one batch played different turns"),
        (Alternate.round, 3, "8 rows do not split into 3 shares"),
        (stranger, 1, r"a player that is no attribute of the game: \['real'\]"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_says_which_rule_a_round_broke(play: Any, shares: int, sentence: str) -> None:
    engine = toys.build(rounds(play), shares=shares)
    with pytest.raises(RuleError, match=sentence):
        toys.play(engine, Alternate, 0, 2)


def test_says_which_field_a_batch_lacks() -> None:
    engine = toys.build(Alternate)

    class Choosy(Line):
        def round(self, A: Tensor | None = None, B: Tensor | None = None) -> Iterator[Turn]:
            yield minimise(self.player, term=self.N(A if A is not None else B).mean())

    for batch in ({"x": torch.ones(2, 1)}, {}):
        with pytest.raises(RuleError, match=r"^the batch has nothing that the round plays with: A, B$"):
            Engine(Choosy()).step(batch)
    with pytest.raises(RuleError, match="the round plays with image, but the batch has only vector"):
        engine.step({"vector": torch.zeros(2, 2)})


def test_an_error_of_the_round_itself_passes_through() -> None:
    engine = toys.build(Line)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        engine.step({"vector": torch.zeros(4, 2)})
    assert not isinstance(caught.value, RuleError)
    assert caught.value.__cause__ is None


def test_hands_a_round_the_fields_it_names() -> None:
    seen = []

    class Some(Line):
        def round(self, vector: Tensor, label: Tensor | None = None) -> Iterator[Turn]:
            seen.append(label)
            yield minimise(self.player, product=self.N(vector).mean())

    engine = toys.build(Some)
    engine.step({"other": torch.zeros(5), "vector": torch.ones(4, 1)})
    engine.step({"vector": torch.ones(4, 1), "label": torch.arange(4)})
    assert seen[0] is None
    assert seen[1].tolist() == [0, 1, 2, 3]


# ---- speed -----------------------------------------------------------------------------------------------------------
def fakes(toy: type[Toy], step: int) -> dict[str, Tensor]:
    return {name: torch.empty_like(value) for name, value in toys.batch(toy, step).items()}


@every_toy
@pytest.mark.parametrize("shares", [1, 2])
def test_nothing_waits_for_the_device(toy: type[Toy], shares: int) -> None:
    with toys.fake_tensors():
        engine = toys.build(toy, shares=shares)
        for step in range(7):
            engine.step(fakes(toy, step))
            engine.evaluate(fakes(toy, step), index=0)
    assert engine.clock.step == 7


def test_a_round_that_waits_is_caught() -> None:
    class Waiting(Alternate):
        def round(self, image: Tensor) -> Iterator[Turn]:
            score = self.D(image).mean()
            if score > 0:
                score = -score
            yield minimise(self.critic, real=score)

    with toys.fake_tensors():
        engine = toys.build(Waiting)
        with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense"):
            engine.step(fakes(Waiting, 0))


def traced(test: Any) -> Any:
    """Lets pass the compiler's own warnings: it looks at .grad of what it traces, and still knows torch.jit."""
    for warning in ("The .grad attribute of a Tensor that is not a leaf:UserWarning", ".*:DeprecationWarning"):
        test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
    return test


@traced
@pytest.mark.parametrize("toy", [Alternate, Simultaneous, Remembering], ids=lambda toy: toy.__name__)
def test_compiled_nets_play_alike(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced for autograd, not for speed: the same to rounding, several players on one graph included."""
    compiler = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda net, **how: compiler(net, backend="aot_eager", **how))
    torch._dynamo.reset()
    eager = toys.build(toy)
    toys.play(eager, toy, 0, 4)
    compiled = toys.build(toy, compile=True)
    toys.play(compiled, toy, 0, 4)
    assert toys.differing(toys.everything(eager), toys.everything(compiled), 1e-6) == []


@traced
@pytest.mark.slow
def test_compiles_by_default() -> None:
    torch._dynamo.reset()
    eager, compiled = toys.build(Simultaneous), toys.build(Simultaneous, compile=True)
    for engine in (eager, compiled):
        toys.play(engine, Simultaneous, 0, 4)
    assert toys.differing(dict(eager.game.named_parameters()), dict(compiled.game.named_parameters()), 1e-4) == []


@every_toy
def test_rounds_never_yield_inside_with(toy: type[Toy]) -> None:
    assert toys.no_yield_inside_with(toy.round)


def test_a_yield_inside_with_is_found() -> None:
    def bad(game: Game, image: Tensor) -> Iterator[Turn]:
        with frozen(game):
            yield minimise(game.players()["critic"], real=image.mean())

    assert not toys.no_yield_inside_with(bad)


def test_every_weight_starts_the_same_whatever_was_drawn_before() -> None:
    engine: Engine = toys.build(Alternate, weights=3)
    torch.rand(5)
    again: Engine = toys.build(Alternate, weights=3)
    assert toys.differing(toys.everything(engine), toys.everything(again)) == []


def test_a_batch_that_has_nothing_to_play_with_is_said() -> None:
    class Choosy(Game):
        def __init__(self) -> None:
            super().__init__()
            self.N = nn.Linear(1, 1)
            self.player = Player((self.N,), adam(1e-3))

        def round(self, A: torch.Tensor | None = None, B: torch.Tensor | None = None) -> Any:
            yield from ()

    with pytest.raises(RuleError, match="nothing that the round plays with: A, B"):
        Engine(Choosy()).step({"x": torch.zeros(2, 1)})
