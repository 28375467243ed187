"""The rules by themselves: moves, clocks, noise, frozen nets."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import toys
from ganvas.game import Clock, Game, Player, Seat, exactly, frozen, minimise, noise, wide
from ganvas.optim import adam
from ganvas.streams import Purpose


def seated(count: int, first: int = 0, total: int | None = None) -> Game:
    """A game in one share's seat, its noise at the start of the batch's stream."""
    game = Game()
    game.N = nn.Linear(1, 1)
    generator = torch.Generator().manual_seed(11)
    game.seat = Seat(first, count, count if total is None else total, generator)
    return game


# ---- players and moves -----------------------------------------------------------------------------------------------
def test_a_loss_is_the_weighted_sum_of_its_terms() -> None:
    player = Player((nn.Linear(1, 1),), adam(1e-3))
    a, b = torch.tensor(3.0), torch.tensor(5.0)
    assert minimise(player, a=a, b=(0.5, b), c=(torch.tensor(2.0), a)).loss().item() == 3 + 2.5 + 6


def test_a_loss_is_at_least_float32() -> None:
    player = Player((nn.Linear(1, 1),), adam(1e-3))
    half = torch.tensor(1.0, dtype=torch.bfloat16)
    assert minimise(player, a=half, b=half / 512).loss().item() == 1 + 1 / 512
    assert minimise(player, a=half.double()).loss().dtype == torch.float64
    assert wide(half).dtype == torch.float32
    assert wide(half.double()).dtype == torch.float64


def test_a_term_is_one_number() -> None:
    player = Player((nn.Linear(1, 1),), adam(1e-3))
    with pytest.raises(ValueError, match=r"the term real must be one number, not of shape \(4,\): take its mean"):
        minimise(player, real=torch.zeros(4))
    with pytest.raises(ValueError, match="the term fake must be one number"):
        minimise(player, fake=(2.0, torch.zeros(1)))


def test_a_player_counts_each_weight_once() -> None:
    net = nn.Linear(2, 2)
    player = Player((net, nn.Sequential(net, nn.Linear(2, 1))), adam(1e-3))
    assert [tuple(weight.shape) for weight in player.weights()] == [(2, 2), (2,), (1, 2), (1,)]


def test_a_game_without_a_round_says_so() -> None:
    with pytest.raises(TypeError, match="Game has no round"):
        Game().round()


def test_players_are_found_by_attribute() -> None:
    game = toys.Stages()
    assert list(game.players()) == ["first", "second", "critic"]


# ---- time ------------------------------------------------------------------------------------------------------------
def test_every_is_true_in_the_last_of_n_rounds_and_always_in_validation() -> None:
    game = Game()
    answers = []
    for step in range(7):
        game.open(Clock(step))
        answers.append(game.every(3))
    assert answers == [False, False, True, False, False, True, False]
    assert not game.eval().training
    assert game.every(1000)


def test_a_round_is_remembered_by_what_it_asked() -> None:
    game = Game()
    game.open(Clock(4, 2, 10))
    assert game.when(lambda clock: clock.epoch == 2)
    assert not game.every(2)
    assert [answer for _, answer in game.asked] == [True, False]
    assert [question(Clock(5, 2, 10)) for question, _ in game.asked] == [True, True]
    game.open(Clock(5, 2, 10))
    assert game.asked == []


def test_notes_cut_the_graph() -> None:
    game = Game()
    game.note(a=torch.ones((), requires_grad=True) * 2)
    assert not game.notes["a"].requires_grad


# ---- noise of a round ------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(shares=st.sampled_from([1, 2, 3, 6]), each=st.integers(1, 3), uniform=st.booleans(), shape=st.integers(0, 20))
def test_shares_cut_the_noise_of_the_whole_batch(shares: int, each: int, uniform: bool, shape: int) -> None:
    """Row i of the batch has the same noise however the batch is shared out, with several draws an image too."""

    def draw(first: int, count: int) -> torch.Tensor:
        game = seated(count, first, total=6)
        return torch.cat([(game.uniform if uniform else game.normal)(count * each, 1 + shape) for _ in range(2)], 1)

    whole = draw(0, 6)
    count = 6 // shares
    parts = [draw(share * count, count) for share in range(shares)]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.shape == (6 * each, 2 + 2 * shape)


def test_noise_is_normal_and_uniform() -> None:
    game = seated(20_000)
    normal, uniform = game.normal(20_000), game.uniform(20_000)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01


def test_noise_takes_the_dtype_of_the_weights() -> None:
    assert seated(2).double().normal(2, 3).dtype == torch.float64


def test_draws_must_belong_to_images() -> None:
    with pytest.raises(ValueError, match="5 draws cannot be shared out over 4 images"):
        seated(4).normal(5)


# ---- noise of a verb -------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, 9),
    first=st.integers(0, 2**40),
    skip=st.integers(0, 9),
    dims=st.integers(1, 33),
    seed=st.integers(0, 2**63),
    truncation=st.none() | st.floats(0.01, 10),
)
def test_a_row_depends_on_its_seed_and_number_alone(
    n: int, first: int, skip: int, dims: int, seed: int, truncation: float | None
) -> None:
    whole = noise(skip + n, dims, seed=seed, first=first, truncation=truncation)
    part = noise(n, dims, seed=seed, first=first + skip, truncation=truncation)
    assert torch.equal(whole[skip:], part)
    assert whole.shape == (skip + n, dims)
    assert whole.dtype == torch.float32


def test_rows_seeds_and_purposes_differ() -> None:
    rows = torch.cat(
        [
            noise(3, 4, seed=0),
            noise(3, 4, seed=1),
            noise(3, 4, seed=0, first=3),
            noise(3, 4, seed=0, purpose=Purpose.POSTERIOR),
        ]
    )
    assert len(torch.unique(rows, dim=0)) == 12


def test_noise_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    noise(3, 4, seed=0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("truncation", [0.05, 0.7, 2.0, 8.0])
def test_truncated_noise_follows_the_truncated_normal(truncation: float) -> None:
    values = noise(4000, 5, seed=3, truncation=truncation).double().flatten()
    assert values.abs().max() <= truncation * (1 + 1e-7)
    low, high = torch.special.ndtr(torch.tensor([-truncation, truncation], dtype=torch.float64))
    got = (torch.special.ndtr(values.sort().values) - low) / (high - low)  # uniform, if the law is right
    want = (torch.arange(len(got), dtype=torch.float64) + 0.5) / len(got)
    assert (got - want).abs().max() < 1.63 / math.sqrt(len(got))  # Kolmogorov-Smirnov at 1 %


def test_truncation_orders_as_the_normal_does() -> None:
    """The same picture at any truncation, drawn towards the middle."""
    free, cut = noise(50, 4, seed=1), noise(50, 4, seed=1, truncation=1.0)
    assert torch.equal(free.flatten().argsort(), cut.flatten().argsort())
    assert (cut.abs() <= free.abs() + 1e-6).all()
    torch.testing.assert_close(noise(50, 4, seed=1, truncation=30.0), free)


@pytest.mark.parametrize("truncation", [0.0, -1.0, math.nan])
def test_truncation_must_be_positive(truncation: float) -> None:
    with pytest.raises(ValueError, match="truncation must be positive"):
        noise(1, 1, seed=0, truncation=truncation)


# ---- frozen, exactly -------------------------------------------------------------------------------------------------
def test_frozen_nets_are_constants_and_thaw() -> None:
    net, outer = nn.Linear(2, 1), nn.Linear(2, 2)
    net.bias.requires_grad_(False)  # frozen before: stays so
    with frozen(net, outer):
        assert not any(p.requires_grad for p in [*net.parameters(), *outer.parameters()])
        x = torch.ones(1, 2, requires_grad=True)
        net(x).sum().backward()
    assert x.grad is not None
    assert net.weight.grad is None
    assert net.weight.requires_grad
    assert not net.bias.requires_grad
    assert outer.weight.requires_grad


def test_frozen_nets_thaw_after_an_error() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="broken"), frozen(net):
        raise RuntimeError("broken")
    assert net.weight.requires_grad


def test_exactly_is_fp32_with_gradients_even_in_validation() -> None:
    net = nn.Linear(2, 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(torch.ones(1, 2)).dtype == torch.bfloat16
        with exactly("cpu"):
            y = net(torch.ones(1, 2))
            assert y.dtype == torch.float32
            assert y.requires_grad
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_exactly_allows_double_backward_through_a_compiled_net() -> None:
    critic = toys.Critic()
    critic.compile(backend="aot_eager", dynamic=False)
    x = torch.randn(2, 3, toys.SIDE, toys.SIDE)
    critic(x).sum().backward()  # it is compiled by now
    toys.slope(critic, x, 1.0).backward()
    assert critic.conv.weight.grad is not None
