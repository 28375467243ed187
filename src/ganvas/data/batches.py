"""The order of the data, and batches of it: pure functions of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data.dataset import Arrays, Dataset, to_tensors
from ganvas.data.geometry import coins, drawn, lots
from ganvas.data.members import Members
from ganvas.data.stream import Feed, Shuffle, Streamed
from ganvas.errors import UsageError
from ganvas.streams import Purpose, permutation


class Order:
    """The seeded permutations of the epochs, joined end to end and cut into batches.

    Nothing is dropped: a batch may span two epochs, or many where the set is smaller than the batch. side: which of the
    orders of one seed, where a set has several.
    """

    def __init__(self, n: int, batch_size: int, seed: int, side: int = 0) -> None:
        self.n, self.batch_size = n, batch_size
        self._permutation = lru_cache(maxsize=4)(partial(_permutation, n, seed, side=side))

    def rows(self, step: int) -> NDArray[np.int64]:
        """The rows [batch_size] of that step's batch."""
        start = step * self.batch_size
        first, last = start // self.n, (start + self.batch_size - 1) // self.n
        epochs = [self._permutation(epoch) for epoch in range(first, last + 1)]
        joined = epochs[0] if len(epochs) == 1 else np.concatenate(epochs)
        return joined[start - first * self.n :][: self.batch_size]


def _permutation(n: int, seed: int, epoch: int, side: int = 0) -> NDArray[np.int64]:
    order = permutation(n, seed, epoch, Purpose.ORDER, side)
    order.setflags(write=False)  # it is kept, and batches are views of it
    return order


class Batches:
    """Batches of a data set: ``batches(step)`` is the step's batch, or this rank's share of its rows.

    dataset: what to draw from. batch_size: the whole batch, over all ranks. seed: of the order and of the flips.
    device: where batches go. rank, world: rows are dealt in equal runs, rank 0 first. flip: mirror images by a coin a
    row (None: as the data spec says).

    Of rows that are cut to windows, the windows are drawn as the flips are. What belongs together (a pair, a photograph
    and its label map) shares order, window and flip; two unpaired sides have their own.

    Fields are as `Dataset.tensors` gives them. Of a streamed set batches are prepared ahead, in threads that `close`
    ends. Raises UsageError where the ranks cannot share a batch equally.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        flip: bool | None = None,
    ) -> None:
        if batch_size < 1 or batch_size % world:
            raise UsageError(f"A batch of {batch_size} does not split over {world} ranks: use a multiple of {world}.")
        self.dataset, self.batch_size, self.seed, self.device = dataset, batch_size, seed, torch.device(device)
        self.flip = dataset.flip if flip is None else flip
        self.mine = mine = slice(rank * (batch_size // world), (rank + 1) * (batch_size // world))
        self.order: Order | Shuffle
        self._arrays: Feed | Callable[[int], Arrays]
        if isinstance(dataset, Streamed):
            self.order = shuffle = dataset.order(batch_size, seed)
            self._arrays = Feed(dataset, shuffle, mine)
        elif isinstance(dataset, Members):
            orders = [Order(len(side), batch_size, seed, i) for i, side in enumerate(dataset.sides)]
            self.order = max(orders, key=lambda order: order.n)
            self._arrays = partial(self._windows, dataset, orders)
        else:
            self.order = order = Order(len(dataset), batch_size, seed)
            self._arrays = lambda step: dataset.arrays(order.rows(step)[mine])

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data set, at least 1."""
        return max(1, len(self.dataset) // self.batch_size)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """This rank's rows of the batch of ``step`` (from 0)."""
        return self._batch(step, self._arrays)

    def first(self, steps: int) -> Iterator[dict[str, Tensor]]:
        """The batches of the first steps. Of a streamed set nothing is read beyond them, and nothing kept."""
        if not isinstance(self.dataset, Streamed) or not isinstance(self.order, Shuffle):
            yield from map(self, range(steps))
            return
        feed = Feed(self.dataset, self.order, self.mine, steps)
        try:
            for step in range(steps):
                yield self._batch(step, feed)
        finally:
            feed.close()

    def close(self) -> None:
        """Ends what prepares the batches to come: none can be asked for any more. Until then a process waits for it."""
        if isinstance(self._arrays, Feed):
            self._arrays.close()

    def _batch(self, step: int, arrays: Callable[[int], Arrays]) -> dict[str, Tensor]:
        flips = self._flips(step) if self.flip and not isinstance(self.dataset, Members) else None
        return to_tensors(arrays(step), self.device, mirrored=flips)

    def _flips(self, step: int, side: int = 0) -> NDArray[np.bool_]:
        """Coins for the whole batch: a row's does not depend on how many ranks there are."""
        return coins(self.batch_size, self.seed, step, side)[self.mine]

    def _windows(self, dataset: Members, orders: list[Order], step: int) -> Arrays:
        """This rank's rows of a step, each side's in its own order, cut to its own windows."""
        arrays: Arrays = {}
        for i, (side, order) in enumerate(zip(dataset.sides, orders, strict=True)):
            rows = order.rows(step)[self.mine]
            sizes = side.sizes[rows]
            corners = drawn(sizes, dataset.window, lots(self.batch_size, self.seed, step, i)[self.mine])
            arrays |= side.take(rows, corners, dataset.window, self._flips(step, i) if self.flip else None)
        return arrays
