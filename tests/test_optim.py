"""Recipes against their formulas, schedules against their shapes."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganvas.game import Clock, Recipe, Schedule
from ganvas.optim import (
    KerasAdam,
    adam,
    constant,
    during,
    epoch_decay,
    exponential_decay,
    keras_adam,
    rmsprop,
)

RATE = float(torch.tensor(1e-3))  # as the learning rate's float32 scalar holds it
BETAS = (0.5, 0.99)


def gradients(steps: int) -> list[list[Tensor]]:
    """A few steps of gradients for two weights, from tiny to large."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2), (4,))
    return [
        [torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** (t % 7 - 5) for shape in shapes]
        for t in range(steps)
    ]


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in ((3, 2), (4,))]


def steps(recipe: Recipe, first: int, last: int, state: object = None) -> tuple[list[nn.Parameter], object]:
    """The weights after some steps, resumed from the state of an earlier call."""
    own = weights()
    optimiser = recipe(own)
    if state is not None:
        values, saved = state  # type: ignore[misc]
        with torch.no_grad():
            for weight, value in zip(own, values, strict=True):
                weight.copy_(value)
        optimiser.load_state_dict(saved)
    for grads in gradients(last)[first:]:
        for weight, grad in zip(own, grads, strict=True):
            weight.grad = grad
        optimiser.step()
    file = io.BytesIO()
    torch.save(([weight.detach() for weight in own], optimiser.state_dict()), file)
    file.seek(0)
    return own, torch.load(file, weights_only=True)


def by_hand(epsilon: float, keras: bool) -> list[Tensor]:
    """Ten steps of Adam in float64. PyTorch: lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps). Keras: lr
    sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)."""
    values = [weight.detach().clone() for weight in weights()]
    m, v = ([torch.zeros_like(value) for value in values] for _ in range(2))
    b1, b2 = BETAS
    for t, grads in enumerate(gradients(10), start=1):
        for i, grad in enumerate(grads):
            m[i] = b1 * m[i] + (1 - b1) * grad
            v[i] = b2 * v[i] + (1 - b2) * grad**2
            if keras:
                values[i] -= RATE * math.sqrt(1 - b2**t) / (1 - b1**t) * m[i] / (v[i].sqrt() + epsilon)
            else:
                values[i] -= RATE * (m[i] / (1 - b1**t)) / ((v[i] / (1 - b2**t)).sqrt() + epsilon)
    return values


@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
@pytest.mark.parametrize("keras", [False, True], ids=["torch", "keras"])
def test_adam_follows_its_formula(keras: bool, epsilon: float) -> None:
    recipe = (keras_adam if keras else adam)(1e-3, BETAS, eps=epsilon)
    own, _ = steps(recipe, 0, 10)
    for weight, want, other in zip(own, by_hand(epsilon, keras), by_hand(epsilon, not keras), strict=True):
        torch.testing.assert_close(weight.detach(), want, rtol=0, atol=1e-13)
        assert (want - other).abs().max() > 1e-9  # the two are not the same, or this test would prove nothing


@pytest.mark.parametrize("recipe", [adam(1e-3, BETAS), keras_adam(1e-3, BETAS)], ids=["torch", "keras"])
def test_adam_resumes_exactly(recipe: Recipe) -> None:
    whole, _ = steps(recipe, 0, 10)
    _, state = steps(recipe, 0, 4)
    resumed, _ = steps(recipe, 4, 10, state)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_keras_defaults() -> None:
    (optimiser,) = [keras_adam(1e-3)(weights())]
    assert isinstance(optimiser, KerasAdam)
    assert optimiser.param_groups[0]["keras_eps"] == 1e-7
    assert optimiser.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("recipe", [adam(1e-3), keras_adam(1e-3)], ids=["torch", "keras"])
def test_the_learning_rate_is_a_scalar_on_the_device(recipe: Recipe) -> None:
    own = weights()
    optimiser = recipe(own)
    rate = optimiser.param_groups[0]["lr"]
    assert isinstance(rate, Tensor)
    assert rate.device == own[0].device
    assert optimiser.param_groups[0]["fused"]
    rate.fill_(0.0)
    for weight in own:
        weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert all(bool((weight == 1).all()) for weight in own)


# ---- schedules -------------------------------------------------------------------------------------------------------
def at(schedule: Schedule, step: int, total: int = 100) -> float:
    return schedule(Clock(step, 1, total))


def test_exponential_decay_is_continuous_over_the_run() -> None:
    schedule = exponential_decay(0.02)
    assert [at(schedule, step) for step in (0, 50, 100)] == pytest.approx([1.0, 0.02**0.5, 0.02])
    assert at(schedule, 51) / at(schedule, 50) == pytest.approx(0.02**0.01)


@settings(deadline=None)
@given(step=st.integers(0, 300), total=st.integers(1, 200), flat=st.floats(0, 0.99), rate=st.floats(1e-3, 1))
def test_schedules_stay_between_0_and_1(step: int, total: int, flat: float, rate: float) -> None:
    """Beyond the planned end too, where a run may be taken on."""
    stepped = (epoch_decay(flat, **how) for how in (INTENDED, RELEASED, HD))
    for schedule in (constant, exponential_decay(rate, flat), *stepped):
        assert 0 <= at(schedule, step, total) <= 1
        assert at(schedule, step + 1, total) <= at(schedule, step, total)


INTENDED, RELEASED, HD = ({"longer": 1}, {"shift": 1, "longer": 1}, {"shift": -1})


@pytest.mark.parametrize(
    ("how", "want"),  # by epoch, from 1, of 100 at full rate and 100 of decay
    [
        (INTENDED, {1: 1, 100: 1, 101: 100 / 101, 150: 51 / 101, 199: 2 / 101, 200: 1 / 101}),
        (RELEASED, {1: 1, 99: 1, 100: 100 / 101, 101: 99 / 101, 199: 1 / 101, 200: 0}),
        (HD, {1: 1, 100: 1, 101: 1, 102: 0.99, 150: 0.51, 199: 0.02, 200: 0.01}),
    ],
)
def test_epochs_decay_as_the_translators_do(how: dict[str, int], want: dict[int, float]) -> None:
    schedule = epoch_decay(0.5, **how)
    for steps_per_epoch in (1, 7):
        for epoch, factor in want.items():
            for step in {(epoch - 1) * steps_per_epoch, epoch * steps_per_epoch - 1}:  # all of an epoch alike
                clock = Clock(step, steps_per_epoch, 200 * steps_per_epoch)
                assert schedule(clock) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("how", [INTENDED, RELEASED, HD])
@pytest.mark.parametrize(("total", "steps_per_epoch"), [(10, 1_000), (10, 10), (10, 4), (200_000, 250_000)])
def test_a_run_of_few_epochs_decays_at_every_step(how: dict[str, int], total: int, steps_per_epoch: int) -> None:
    """It learns from the first step to the last, at full rate for the first half, then less and less."""
    schedule = epoch_decay(0.5, **how)
    steps = range(0, total, max(1, total // 10))
    factors = [schedule(Clock(step, steps_per_epoch, total)) for step in steps]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert schedule(Clock(total - 1, steps_per_epoch, total)) > 0
    assert schedule(Clock(total, steps_per_epoch, total)) == 0


@settings(deadline=None)
@given(total=st.integers(1, 400), per_epoch=st.integers(1, 300), flat=st.floats(0, 1), data=st.data())
def test_no_run_stands_still_but_in_its_last_epoch_as_published(
    total: int, per_epoch: int, flat: float, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total - 1))
    last = max(0, total - per_epoch if total % per_epoch == 0 else total - total % per_epoch)
    for how in (INTENDED, HD, *([RELEASED] if step < last or total < 4 * per_epoch else [])):
        assert epoch_decay(flat, **how)(Clock(step, per_epoch, total)) > 0


@pytest.mark.parametrize("how", [INTENDED, RELEASED, HD])
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 250])
@pytest.mark.parametrize("epochs", [4, 5, 10, 200])
def test_whole_epochs_have_the_published_factors_to_the_bit(
    how: dict[str, int], steps_per_epoch: int, epochs: int
) -> None:
    shift, longer = how.get("shift", 0), how.get("longer", 0)
    for epoch in range(epochs):
        late, span = epoch + 1 + shift - 0.5 * epochs, 0.5 * epochs + longer
        want = 1.0 if late <= 0 else max(0.0, 1 - late / span)
        for step in {epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1}:
            assert epoch_decay(0.5, **how)(Clock(step, steps_per_epoch, epochs * steps_per_epoch)) == want


def test_a_stage_has_its_own_epochs() -> None:
    staged, alone = during(0.5, 0.8, epoch_decay(shift=-1)), epoch_decay(shift=-1)
    for step in range(100):  # 30 rounds, 6 epochs
        assert staged(Clock(step, 5, 100)) == alone(Clock(max(0, step - 50), 5, 30))
    assert staged(Clock(79, 5, 100)) == pytest.approx(1 / 3)


def test_rmsprop_is_its_formula() -> None:
    values = [weight.detach().clone() for weight in weights()]
    squares = [torch.zeros_like(value) for value in values]
    for grads in gradients(10):
        for i, g in enumerate(grads):
            squares[i] = 0.9 * squares[i] + 0.1 * g * g
            values[i] = values[i] - RATE * g / (squares[i].sqrt() + 1e-8)
    own, _ = steps(rmsprop(1e-3), 0, 10)
    for weight, value in zip(own, values, strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=1e-12, atol=1e-12)


def test_weight_decay_is_added_to_the_gradient() -> None:
    plain, decayed = (steps(keras_adam(1e-3, BETAS, weight_decay=rate), 0, 1)[0] for rate in (0.0, 1e9))
    for a, b in zip(plain, decayed, strict=True):
        assert not torch.equal(a, b)
        torch.testing.assert_close(b.detach(), torch.full_like(b, 1 - RATE))  # a weight of 1 is all of the gradient


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (50, 1.0), (75, 0.1), (100, 0.01)])
def test_a_rate_may_be_flat_before_it_decays(step: int, factor: float) -> None:
    assert exponential_decay(0.01, 0.5)(Clock(step, 1, 100)) == pytest.approx(factor)
