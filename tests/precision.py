"""How far two float32 results of one computation may lie apart.

No constant fits every processor: with and without AVX-512, and with one thread or four, sums are taken in other orders.
So a test measures what float32 costs on its own input, where it runs, and allows ten times that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

TIMES = 10
FLOOR = 1e-6  # of the largest value, for inputs on which float32 happens to be all but exact


def flat(made: Tensor | Sequence[Any]) -> Tensor:
    """All numbers of a tensor, or of tensors in lists at any depth, as one row."""
    return made.flatten() if isinstance(made, Tensor) else torch.cat([flat(one) for one in made])


def allowed(single: Tensor, exact: Tensor) -> float:
    """The largest absolute difference between two float32 results, of which ``single`` is one and ``exact`` is the
    same in float64."""
    error = (single.double() - exact).abs().max().item()
    return max(TIMES * error, FLOOR * exact.abs().max().item())


@torch.no_grad()
def tolerance(net: nn.Module, *inputs: Tensor, call: Callable[..., Any] | None = None, **more: Any) -> float:
    """`allowed` of what a float32 net gives for inputs; ``call(net, *inputs, **more)`` where it is not the net's own
    forward."""
    run = call or (lambda made, *given, **rest: made(*given, **rest))
    exact = copy.deepcopy(net).double()
    doubled = [x.double() if x.is_floating_point() else x for x in inputs]
    return allowed(flat(run(net, *inputs, **more)), flat(run(exact, *doubled, **more)))
