"""The options of a system, read from its file: the same as those of the system itself."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from ganvas import games
from ganvas.cli import outline as module
from ganvas.cli.outline import Outline, outline

SYSTEMS = games.systems()


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_read_from_a_file_is_what_importing_it_gives(name: str) -> None:
    read, system = outline(name), SYSTEMS[name]
    assert isinstance(read, Outline)
    assert (read.name, read.summary, read.presets) == (name, system.summary, system.presets)
    assert get_type_hints(read.config) == get_type_hints(system.config)
    for preset in (None, *system.presets):
        ours, theirs = read.preset(preset), system.preset(preset)
        assert dataclasses.asdict(ours[0]) == dataclasses.asdict(theirs[0])
        assert ours[1] == theirs[1]


def test_a_file_that_is_written_in_another_way_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(name: str, file: str) -> Outline:
        raise SyntaxError(file)

    monkeypatch.setattr(module, "_read", odd)
    assert outline("vae") is SYSTEMS["vae"]
