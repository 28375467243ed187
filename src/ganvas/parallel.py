"""Ranks of one run over ``torch.distributed``, as ``torchrun`` starts them. One process without it is rank 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def started(device: str) -> Iterator[None]:
    """Joins the group that ``torchrun`` announces in the environment, if it does; leaves it at the end."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


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
    """Waits until every rank is here."""
    if world() > 1:
        dist.barrier()
