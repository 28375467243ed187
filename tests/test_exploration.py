from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import ganvas
from ganvas.exploration import between, film, interpolate, traverse
from ganvas.game import Game
from trained import Trained

F64 = torch.float64
SEEDS = st.integers(0, 10_000)


def codes(seed: int, n: int, dims: int) -> Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed), dtype=F64)


# ---- from code to code -----------------------------------------------------------------------------------------------
@given(seed=SEEDS, dims=st.integers(2, 40), frames=st.integers(2, 9))
@settings(deadline=None, max_examples=50)
def test_the_great_circle_keeps_its_norm_and_its_pace(seed: int, dims: int, frames: int) -> None:
    """Derived apart: a rotation within the plane of a and b, by equal angles."""
    a, b = codes(seed, 2, dims)
    b = b * a.norm() / b.norm()
    u = a / a.norm()
    across = b - (b @ u) * u
    assume(across.norm() > 1e-3)
    v, angle = across / across.norm(), math.atan2(float(b @ (across / across.norm())), float(b @ u))
    steps = torch.arange(frames, dtype=F64)[:, None] * angle / (frames - 1)
    expected = a.norm() * (steps.cos() * u + steps.sin() * v)
    found = between(a, b, frames, "slerp")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.norm(dim=1), a.norm().expand(frames), rtol=1e-9, atol=0)


@given(seed=SEEDS, dims=st.integers(1, 40), frames=st.integers(2, 9), path=st.sampled_from(["slerp", "lerp"]))
@settings(deadline=None, max_examples=50)
def test_a_way_starts_and_ends_at_its_codes(seed: int, dims: int, frames: int, path: Any) -> None:
    a, b = codes(seed, 2, dims).float()
    found = between(a, b, frames, path)
    assert found.dtype == torch.float32
    assert found.shape == (frames, dims)
    torch.testing.assert_close(found[0], a)
    torch.testing.assert_close(found[-1], b)


@given(seed=SEEDS, dims=st.integers(1, 40), frames=st.integers(2, 9))
@settings(deadline=None, max_examples=50)
def test_the_chord_is_a_straight_line_at_an_even_pace(seed: int, dims: int, frames: int) -> None:
    a, b = codes(seed, 2, dims)
    found = between(a, b, frames, "lerp").numpy()
    np.testing.assert_allclose(found, np.linspace(a.numpy(), b.numpy(), frames), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [2.0, -1.0, 1.0, 0.0])
def test_codes_without_a_great_circle_of_their_own_go_along_the_chord(factor: float) -> None:
    a = torch.tensor([3.0, -1.0, 2.0], dtype=F64)
    found = between(a, factor * a, 5, "slerp")
    torch.testing.assert_close(found[[0, -1]], torch.stack([a, factor * a]), rtol=0, atol=1e-12)
    assert found.isfinite().all()
    if factor:
        torch.testing.assert_close(found, between(a, factor * a, 5, "lerp"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("system", ["avae", "vae", "dcgan", "autoencoder"])
def test_a_walk_shows_the_pictures_of_its_codes(trained: Trained, system: str) -> None:
    game: Any = ganvas.load(trained(system))
    z = codes(1, 3, game.config.latent).float()
    shown = interpolate(game, z, frames=4, path="slerp", seed=5)
    assert shown.shape == (2, 4, 1, 32, 32)
    for code, picture in zip(z, (shown[0, 0], shown[0, -1], shown[1, -1]), strict=True):
        torch.testing.assert_close(picture, game.decode(code[None], seed=5)[0])
    assert torch.equal(shown[0, -1], shown[1, 0])
    middle = between(z[0], z[1], 4, "slerp")[1]
    torch.testing.assert_close(shown[0, 1], game.decode(middle[None], seed=5)[0])
    assert not torch.equal(shown, interpolate(game, z, frames=4, path="lerp", seed=5))


def test_what_a_game_draws_beside_the_code_stays_the_same_along_a_walk(trained: Trained) -> None:
    """AVAE's xi: the picture of one code is the same wherever on the way it is met, and another with another seed."""
    game: Any = ganvas.load(trained("avae"))
    z = codes(1, 1, game.config.latent).float()
    shown = interpolate(game, z.repeat(3, 1), frames=3, seed=7).flatten(0, 1)
    assert torch.equal(shown, shown[:1].expand_as(shown))
    assert not torch.equal(shown[0], interpolate(game, z.repeat(2, 1), frames=2, seed=8)[0, 0])
    rows = game.decode(z.repeat(2, 1), seed=7)  # whereas rows of a batch draw noise of their own
    assert not torch.equal(rows[0], rows[1])


def test_a_walk_is_of_one_class(trained: Trained) -> None:
    game: Any = ganvas.load(trained("vae"))
    z = codes(2, 2, game.config.latent).float()
    first, third = interpolate(game, z, frames=3), interpolate(game, z, frames=3, label=3)
    assert torch.equal(first, interpolate(game, z, frames=3, label=0))
    assert not torch.equal(first, third)
    torch.testing.assert_close(third[0, -1], game.decode(z[1:], label=3)[0])


def test_a_film_shows_the_picture_where_stretches_meet_once() -> None:
    stretches = torch.tensor([[0, 1, 2], [2, 3, 4], [4, 5, 6]])
    assert film(stretches).tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]


# ---- along the dimensions --------------------------------------------------------------------------------------------
class Scales(Game):
    """Its picture is the code, each dimension times a factor of its own."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.factors = torch.nn.Parameter(torch.tensor(factors))

    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        return (z * self.factors).detach().view(len(z), 1, 1, -1)


@given(st.lists(st.floats(-2, 2, width=16), min_size=1, max_size=8, unique_by=abs), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_dimensions_are_ranked_by_how_much_they_change_the_picture(factors: list[float], dims: int) -> None:
    code = torch.linspace(-1, 1, len(factors))
    pictures, chosen = traverse(Scales(factors), code, dims)
    assert chosen == sorted(range(len(factors)), key=lambda dim: -abs(factors[dim]))[:dims]
    for row, dim in zip(pictures, chosen, strict=True):
        moved = code.repeat(11, 1)
        moved[:, dim] = torch.tensor([-3.0, -2.4, -1.8, -1.2, -0.6, 0, 0.6, 1.2, 1.8, 2.4, 3.0])
        torch.testing.assert_close(row[:, 0, 0], moved * torch.tensor(factors))


@pytest.mark.parametrize("system", ["avae", "dcgan"])
def test_a_trained_game_is_traversed_likewise(trained: Trained, system: str) -> None:
    game: Any = ganvas.load(trained(system))
    code = codes(3, 1, game.config.latent)[0].float()
    changes = []
    for dim in range(len(code)):
        low, high = code.clone(), code.clone()
        low[dim], high[dim] = -3, 3
        ends = [game.decode(end[None], seed=4).double().numpy() for end in (low, high)]
        changes.append(np.mean((ends[0] - ends[1]) ** 2))
    pictures, chosen = traverse(game, code, 3, seed=4)
    assert chosen == np.argsort(changes)[::-1][:3].tolist()
    assert pictures.shape == (3, 11, 1, 32, 32)
    for row, dim in zip(pictures, chosen, strict=True):
        end = code.clone()
        end[dim] = 3
        torch.testing.assert_close(row[-1], game.decode(end[None], seed=4)[0])
