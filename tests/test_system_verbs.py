"""Verbs of every system there is: a row depends on its seed and its number alone, and fits what it stands for."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cases import CHANGED, F64, PLAIN, ROWS, SYSTEMS, Case, every_system
from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.verbs import VERBS, verbs_of


def able(*verbs: str) -> Any:
    """The cases whose systems have these verbs."""
    cases = [case for case in PLAIN + CHANGED if set(verbs) <= set(SYSTEMS[case.name].verbs)]
    return pytest.mark.parametrize("case", cases, ids=str)


def awake(case: Case) -> Game:
    """A game in float64 and eval mode whose weights are large enough for its outputs to differ."""
    game = case.build(F64).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in game.parameters():
            weight.normal_(0, 2 / math.sqrt(weight[0].numel()), generator=generator)
    return game


def labels(case: Case, n: int) -> Tensor | None:
    return torch.arange(n) % len(case.schema.classes) if case.schema.classes else None


def differ(rows: Tensor) -> bool:
    """Whether most pairs of rows differ. (Small nets of ReLUs may map a few codes to the same point.)"""
    return bool((torch.pdist(rows.double().flatten(1)) > 1e-3).double().mean() > 0.5)


def assert_in_range(case: Case, rows: Tensor, n: int) -> None:
    field, shape = next(iter(case.schema.fields.items()))
    assert rows.shape == (n, *shape)
    assert rows.dtype == F64  # as the weights are
    assert rows.isfinite().all()
    assert not rows.requires_grad
    if field == "image":
        assert rows.abs().max() <= 1


@every_system
def test_verbs_are_those_of_the_class_with_the_signatures_of_their_protocols(name: str) -> None:
    system = SYSTEMS[name]
    case = next(case for case in PLAIN if case.name == name)
    assert system.verbs == verbs_of(case.build()) == tuple(verb for verb in VERBS if hasattr(system.game, verb))
    assert system.verbs
    for verb in system.verbs:
        theirs = inspect.signature(getattr(system.game, verb))
        assert theirs == inspect.signature(getattr(VERBS[verb], verb)), verb


@able("sample")
def test_a_sample_depends_on_its_seed_and_number_alone(case: Case) -> None:
    game: Any = awake(case)
    samples = game.sample(64, seed=3)
    assert_in_range(case, samples, 64)
    for size in (1, 7):
        parts = torch.cat([game.sample(size, seed=3, first=first) for first in range(0, 14, size)])
        torch.testing.assert_close(parts, samples[:14], rtol=0, atol=1e-10)
    others = game.sample(14, seed=4)
    assert differ(samples)
    assert differ(torch.cat([samples[:14], others]))
    torch.manual_seed(123)
    torch.testing.assert_close(game.sample(2, seed=3), samples[:2], rtol=0, atol=1e-10)


@able("prior", "decode")
def test_codes_of_the_prior_decode_alike_in_any_company(case: Case) -> None:
    game: Any = awake(case)
    z = game.prior(9, seed=2)
    x = game.decode(z, seed=2)
    assert_in_range(case, x, 9)
    torch.testing.assert_close(game.prior(4, seed=2, first=5), z[5:])
    torch.testing.assert_close(game.decode(z[5:], seed=2, first=5), x[5:], rtol=0, atol=1e-10)
    torch.testing.assert_close(game.sample(9, seed=2), x, rtol=0, atol=1e-10)


@able("prior", "sample")
def test_truncation_draws_codes_towards_the_middle(case: Case) -> None:
    game: Any = awake(case)
    free, cut = game.prior(50, seed=1), game.prior(50, seed=1, truncation=0.5)
    assert free.abs().max() > 0.5 >= cut.abs().max()
    assert ((free > 0) == (cut > 0)).all()
    torch.testing.assert_close(game.sample(5, seed=1, truncation=0.5), game.decode(cut[:5], seed=1), rtol=0, atol=1e-10)
    assert differ(torch.cat([game.sample(1, seed=1, truncation=0.5), game.sample(1, seed=1)]))


@able("encode")
def test_codes_and_reconstructions_do_not_depend_on_their_neighbours(case: Case) -> None:
    game: Any = awake(case)
    x, label = case.batch(0, F64)["image"], labels(case, ROWS)
    some = None if label is None else label[3:5]
    z = game.encode(x, label=label)
    assert z.ndim == 2
    assert len(z) == ROWS
    assert not z.requires_grad
    assert differ(z)
    torch.testing.assert_close(game.encode(x[3:5], label=some), z[3:5], rtol=0, atol=1e-10)
    if "reconstruct" in SYSTEMS[case.name].verbs:
        y = game.reconstruct(x, seed=6, label=label)
        assert_in_range(case, y, ROWS)
        torch.testing.assert_close(game.reconstruct(x[3:5], seed=6, first=3, label=some), y[3:5], rtol=0, atol=1e-10)
    if "decode" in SYSTEMS[case.name].verbs:
        assert_in_range(case, game.decode(z, seed=6), ROWS)


@able("elbo")
def test_the_bound_of_a_row_is_its_own_and_the_sum_of_its_parts(case: Case) -> None:
    game: Any = awake(case)
    x, label = case.batch(0, F64)["image"], labels(case, ROWS)
    parts = game.elbo(x, seed=6, label=label)
    torch.testing.assert_close(parts["elbo"], -(parts["reconstruction"] + parts["kl"]))
    some = game.elbo(x[3:5], seed=6, first=3, label=None if label is None else label[3:5])
    assert some.keys() == parts.keys()
    for name, values in parts.items():
        assert values.shape == (ROWS,)
        assert not values.requires_grad
        torch.testing.assert_close(some[name], values[3:5], rtol=1e-9, atol=0)
    assert (parts["kl"] >= 0).all()
    assert not torch.equal(game.elbo(x, seed=7, label=label)["reconstruction"], parts["reconstruction"])


@able("translate")
def test_a_translation_depends_on_its_own_row_and_on_its_seed_and_number_alone(case: Case) -> None:
    """With the styles that a survey finds, and with the dropout that was published."""
    game: Any = awake(case)
    batch = case.batch(0, F64)
    if hasattr(game, "survey"):
        game.survey(iter([batch]), ROWS)
    for direction in game.directions:
        fields = {"x": batch["labels" if "labels" in batch else direction[0]]}
        fields |= {"instances": batch["instances"]} if "instances" in batch else {}
        shape = case.schema["image" if "labels" in batch else direction[-1]]
        for as_published in (False, True):
            how = {"direction": direction, "as_published": as_published}
            y = game.translate(**fields, **how, seed=3)
            assert y.shape == (ROWS, *shape)
            assert y.dtype == F64
            assert y.abs().max() <= 1
            assert not y.requires_grad
            assert differ(y)
            some = {name: values[3:5] for name, values in fields.items()}
            torch.testing.assert_close(game.translate(**some, **how, seed=3, first=3), y[3:5], rtol=0, atol=1e-10)
            torch.manual_seed(123)
            torch.testing.assert_close(game.translate(**fields, **how, seed=3), y, rtol=0, atol=0)
            drawn = getattr(game, "E", None) is not None or (
                as_published and any(isinstance(module, nn.Dropout) for module in game.modules())
            )
            assert differ(torch.cat([y[:1], game.translate(**fields, **how, seed=4)[:1]])) == drawn


@able("translate")
def test_what_no_translator_takes_is_refused(case: Case) -> None:
    game: Any = awake(case)
    x = case.batch(0, F64)["labels" if "labels" in case.schema else "A"]
    with pytest.raises(UsageError, match="There is no direction 'sideways' here"):
        game.translate(x, direction="sideways")
    with pytest.raises(UsageError, match=r"33x32 do not fit .*multiples of"):
        game.translate(torch.cat([x, x[..., :1]], -1))


@able("decode")
@pytest.mark.parametrize("label", [-1, 3, 1_000])
def test_classes_that_there_are_not_are_refused(case: Case, label: int) -> None:
    game: Any = awake(case)
    verbs = SYSTEMS[case.name].verbs
    z = game.prior(2) if "prior" in verbs else game.encode(case.batch(0, F64)["image"], label=labels(case, ROWS))
    with pytest.raises(UsageError, match="class"):
        game.decode(z, label=label)
    if "sample" in verbs:
        with pytest.raises(UsageError, match="class"):
            game.sample(2, label=label)
