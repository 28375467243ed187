from __future__ import annotations

import pytest
import torch

from ganvas.devices import device
from ganvas.errors import UsageError


@pytest.mark.parametrize("cards", [0, 2])
def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, cards: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    assert device("auto") == ("cuda" if cards else "cpu")


def test_what_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("cpu", "cpu:0", "cuda", "cuda:0", "cuda:1", "mps", "mps:0"):
        assert device(name) == name
        assert torch.device(name).type == name.partition(":")[0]


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "cpu:1"])
def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"'{name}' is not there on this machine; use --device auto or cpu"):
        device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cpu:", "cuda:-1", "cuda:٣", "cuda:0:0", "cuda:99999999999", "CPU"])
def test_what_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{name}': auto, cpu, cuda or mps"):
        device(name)
