"""Streams of random numbers: fixed for ever, and never the same twice."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvas.streams import Purpose, bits, permutation, stream, uniform

numbers = st.integers(0, 2**63)


def test_streams_are_the_same_for_ever() -> None:
    """Golden values: if one of these changes, no run in the world resumes and no sample comes again."""
    assert stream(0, 0, Purpose.NOISE, 0) == 4324601099084218337
    assert stream(0, 0, Purpose.NOISE, 1) == 4383729030133993156
    assert stream(0, 0, Purpose.DROPOUT, 0) == 5228546342681945855
    assert stream(0, 1, Purpose.NOISE, 0) == 1554199118406742183
    assert stream(1, 0, Purpose.NOISE, 0) == 892115846157824453
    assert stream(7, 123456, Purpose.SAMPLE, 0) == 3202026311129986954
    assert stream(1099511627776, 8589934592, Purpose.ORDER, 3) == 5152054945169762989


def test_what_is_drawn_from_raw_bits_is_the_same_for_ever() -> None:
    """Golden values, by no method of NumPy's Generator, whose draws may change from one NumPy to the next."""
    assert permutation(8, 3, 5, Purpose.METRIC, 2).tolist() == [2, 4, 5, 6, 3, 0, 1, 7]
    drawn = uniform(bits(2, 3, 5, Purpose.METRIC, 2))
    assert drawn.tolist() == [0.5517717599593861, 0.8992305564382238]
    assert ((drawn >= 0) & (drawn < 1)).all()
    largest = uniform(np.array([0, 2**64 - 1], np.uint64))
    assert largest.tolist() == [0, 1 - 2**-53]


def test_purposes_are_never_renumbered() -> None:
    assert {purpose.name: int(purpose) for purpose in Purpose} == {
        "NOISE": 1,
        "DROPOUT": 2,
        "VALID_NOISE": 3,
        "VALID_DROPOUT": 4,
        "WEIGHTS": 5,
        "ORDER": 6,
        "FLIP": 7,
        "SPLIT": 8,
        "SOURCE": 9,
        "SAMPLE": 10,
        "POSTERIOR": 11,
        "METRIC": 12,
        "CLASSIFIER": 13,
        "DEQUANTISE": 14,
        "SCORE": 15,
    }


def test_streams_never_collide() -> None:
    """Zeros included, which SeedSequence pads with: 0, 1 and large numbers in every place."""
    grid = list(itertools.product(range(6), [*range(40), 2**31, 2**40], Purpose, range(6)))
    seeds = {stream(*place) for place in grid}
    assert len(seeds) == len(grid)


@settings(deadline=None)
@given(numbers, numbers, st.sampled_from(Purpose), numbers)
def test_a_stream_seeds_every_generator(seed: int, step: int, purpose: Purpose, index: int) -> None:
    value = stream(seed, step, purpose, index)
    assert 0 <= value < 2**63
    assert value == stream(seed, step, purpose, index)


def test_neighbouring_streams_are_independent() -> None:
    drawn = np.array([np.random.default_rng(stream(0, step, Purpose.NOISE)).standard_normal(50) for step in range(200)])
    correlations = np.corrcoef(drawn) - np.eye(200)
    assert np.abs(correlations).max() < 0.75  # 20,000 pairs of 50 numbers: 5 sigma is 0.71
    assert abs(correlations.mean()) < 0.01
