"""One stream of random numbers for each purpose, step and index: no state of a generator is ever saved."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a stream is for. Never 0 and never renumbered: SeedSequence pads with zeros, and runs must resume."""

    NOISE = 1  # a round's latent noise
    DROPOUT = 2  # the global generator during a round
    VALID_NOISE = 3
    VALID_DROPOUT = 4
    WEIGHTS = 5  # initial weights
    ORDER = 6  # the permutation of an epoch
    FLIP = 7
    SPLIT = 8  # who is held out
    SOURCE = 9  # synthetic data and random crops
    SAMPLE = 10  # z of sample i, in verbs
    POSTERIOR = 11  # what verbs draw beside z: AVAE's xi, and the one z an image of a bound
    METRIC = 12  # subsets that a metric draws
    CLASSIFIER = 13  # training of fd-digits' classifier
    DEQUANTISE = 14  # a grey level's width of noise, for likelihoods
    SCORE = 15  # the draw of a posterior that a benchmark scores


def stream(seed: int, step: int, purpose: Purpose, index: int = 0) -> int:
    """A 63-bit seed for one stream, the same on every machine, for ever.

    Always four numbers: SeedSequence pads with zeros, so tuples of different length can collide.
    """
    sequence = np.random.SeedSequence((seed, step, int(purpose), index))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def bits(n: int, seed: int, step: int, purpose: Purpose, index: int = 0) -> NDArray[np.uint64]:
    """n random 64-bit numbers of a stream."""
    return np.random.PCG64(stream(seed, step, purpose, index)).random_raw(n)


def uniform(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) of random 64-bit ones: their upper 53 bits."""
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(n: int, seed: int, step: int, purpose: Purpose, index: int = 0) -> NDArray[np.int64]:
    """The numbers from 0 to n - 1 in an order of chance."""
    # By sorting raw bits: they are the same in every NumPy, which its own `permutation` need not be.
    return bits(n, seed, step, purpose, index).argsort(kind="stable")
