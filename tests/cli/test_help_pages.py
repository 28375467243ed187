"""What the command line says of itself."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_type_hints

import pytest
import tyro
from said import Command

import ganvas
from ganvas import games
from ganvas.cli import _commands
from ganvas.cli.runs import Training
from ganvas.data import keys

COMMANDS = _commands()
SYSTEMS = games.systems()
SURFACE = (
    *("systems", "data", "train", "info", "runs", "sample", "encode", "reconstruct", "interpolate", "traverse"),
    *("translate", "edit"),
    *("evaluate", "compare", "benchmark", "calibrate", "report", "fetch", "cache"),
    *("import", "export"),
)


def test_there_is_a_command_for_everything_promised() -> None:
    assert set(COMMANDS) == set(SURFACE)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_the_front_page_names_every_command_and_what_it_does(ganvas_cli: Command, word: str) -> None:
    page = ganvas_cli(word).out
    for name, function in COMMANDS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        assert f"  {name} " in page
        assert summary in page
    assert "--json" in page


def test_no_command_at_all_is_answered_with_the_front_page_on_stderr(ganvas_cli: Command) -> None:
    said = ganvas_cli(code=2)
    assert said.out == ""
    assert said.err == ganvas_cli("--help").out


@pytest.mark.parametrize("words", [["--version"], ["sample", "--version"], ["train", "avae", "--version"]])
def test_the_version_is_everywhere(ganvas_cli: Command, words: list[str]) -> None:
    assert ganvas_cli(*words).out == f"ganvas {ganvas.__version__}\n"
    assert ganvas_cli(*words, "--json").json == {"command": "version", "version": ganvas.__version__}


def flags(function: Any) -> list[str]:
    """A command's flags, and the metavars of what has none, read off its signature."""
    found = []
    for name, hint in get_type_hints(function, include_extras=True).items():
        if name != "return":
            told = getattr(hint, "__metadata__", ())
            renamed = [more.name for more in told if getattr(more, "name", None)]
            metavar = [more.metavar for more in told if getattr(more, "metavar", None)]
            flag = renamed[0] if renamed else name.replace("_", "-")
            found.append(metavar[0] if tyro.conf.Positional in told else f"--{flag}")
    return found


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_a_commands_page_names_each_of_its_flags(ganvas_cli: Command, name: str) -> None:
    page = ganvas_cli(name, "--help").out
    assert page.startswith(f"usage: ganvas {name}")
    for flag in flags(COMMANDS[name]):
        assert flag in page
    assert "--json" in page
    assert "default: none" not in page  # every flag that may be left open says what then happens


def test_flags_are_those_promised() -> None:
    assert flags(COMMANDS["sample"]) == ["RUN", "--out", "--count", "--seed", "--class", "--truncation", "--device"]
    assert set(flags(COMMANDS["interpolate"])) >= {"--from", "--to", "--seeds", "--frames", "--path"}
    assert set(flags(COMMANDS["traverse"])) >= {"--image", "--seed", "--dims"}
    assert set(flags(COMMANDS["evaluate"])) >= {"--data", "--metrics", "--count"}
    assert set(flags(COMMANDS["compare"])) >= {"A", "B", "--metrics", "--count"}
    promised = "profile data models width steps seeds minutes workers dask"
    assert flags(COMMANDS["benchmark"]) == ["NAME", "--out", *(f"--{name}" for name in promised.split())]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_page_of_train_names_every_setting_and_its_default(ganvas_cli: Command, name: str) -> None:
    page = ganvas_cli("train", name, "--preset", "tiny", "--help").out
    config, _ = SYSTEMS[name].preset("tiny")
    words = " ".join(page.replace("│", " ").replace("-" * 20, " ").split())
    for field in [*dataclasses.fields(Training), *dataclasses.fields(config)]:
        assert f"--{field.name.replace('_', '-')} " in words.replace(",", " ")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        assert f"(default: {'none' if value is None else value})" in words, field.name
    for preset in SYSTEMS[name].presets:
        assert f"{preset}: " in page


def test_train_without_a_system_lists_them(ganvas_cli: Command) -> None:
    assert all(name in ganvas_cli("train", "--help").out for name in SYSTEMS)
    assert all(name in ganvas_cli("train", code=2).err for name in SYSTEMS)


def test_the_page_of_data_lists_the_keys_of_a_spec(ganvas_cli: Command) -> None:
    page = ganvas_cli("data", "--help").out
    assert all(f"{key}: " in page for key in keys())


def test_systems_are_listed_with_verbs_and_presets(ganvas_cli: Command) -> None:
    listed = {row.pop("name"): row for row in ganvas_cli("systems", "--json").json["systems"]}
    assert list(listed) == games.names()
    for name, system in SYSTEMS.items():
        presets, verbs = list(system.presets), list(system.verbs)
        assert listed[name] == {"summary": system.summary, "verbs": verbs, "presets": presets}
    table = ganvas_cli("systems").out
    assert all(name in table for name in SYSTEMS)
    assert not any(line.endswith(" ") for line in table.splitlines())
