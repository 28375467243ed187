"""Ranks of one run over ``torch.distributed``, as ``torchrun`` starts them. One process without it is rank 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ganvas.errors import UsageError

PATIENCE = timedelta(days=1)  # that ranks wait for one that measures; NCCL itself gives up after minutes

_patient: dist.ProcessGroup | None = None  # a group for waiting


@contextmanager
def started(device: str) -> Iterator[None]:
    """Joins the group that ``torchrun`` announces in the environment, if it does; leaves it at the end."""
    if dist.is_initialized() or announced() is None:
        yield
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    global _patient
    dist.init_process_group("nccl" if cuda else "gloo")
    _patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        _patient = None
        dist.destroy_process_group()


def announced() -> int | None:
    """How many processes ``torchrun`` says in the environment that there are; None where it does not.

    Schedulers set WORLD_SIZE of their own accord; without the rest it means nothing if it is 1. Raises UsageError where
    the announcement cannot be followed.
    """
    lacking = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    world = os.environ.get("WORLD_SIZE") or "1"
    if lacking and world == "1":
        return None
    if lacking:
        raise UsageError(
            f"WORLD_SIZE is {world}, but {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not set: start "
            "training by torchrun, or unset WORLD_SIZE to train in one process."
        )
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not os.environ[name].isdecimal():
            raise UsageError(f"{name} must be a number, not {os.environ[name]!r}: start training by torchrun.")
    return int(world)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replaces each tensor by its mean over the ranks, in one flat exchange per dtype."""
    if world() == 1:
        return
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        alike = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in alike])
        dist.all_reduce(flat)
        flat /= world()
        for t, mean in zip(alike, torch.split(flat, [t.numel() for t in alike]), strict=True):
            t.copy_(mean.view(t.shape))


@torch.no_grad()
def broadcast(tensors: Sequence[Tensor]) -> None:
    """Replaces each tensor by rank 0's."""
    if world() == 1:
        return
    for t in tensors:
        whole = t.contiguous()  # collectives refuse other layouts
        dist.broadcast(whole, 0)
        t.copy_(whole)


def gather(value: Any) -> list[Any]:
    """Every rank's ``value``, in order, on every rank."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def agree(value: bool) -> bool:
    """True on every rank if it is true on any: how ranks stop together."""
    return any(gather(value)) if world() > 1 else value


def barrier() -> None:
    """Waits until every rank is here, however long one of them measures a checkpoint."""
    if world() > 1:
        dist.barrier(group=_patient)
