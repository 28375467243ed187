"""The command line as tests call it: in this process, its words in, its exit code and what it said out."""

from __future__ import annotations

from pathlib import Path

import pytest
from said import Command, Refusal, Said

from ganvas.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the command, a new one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ganvas_cli(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command, which must end with ``code``."""

    def command(*words: str | Path, code: int = 0) -> Said:
        capsys.readouterr()
        found = run([str(word) for word in words])
        out, err = capsys.readouterr()
        assert found == code, err
        assert "Traceback" not in out + err
        return Said(found, out, err)

    return command


@pytest.fixture
def refused(ganvas_cli: Command, here: Path) -> Refusal:
    """Runs a command that must be refused: exit 2, one sentence on stderr, nothing on stdout, nothing written."""

    def command(*words: str | Path, code: int = 2) -> str:
        before = sorted(here.rglob("*"))
        said = ganvas_cli(*words, code=code)
        assert said.out == ""
        *notes, sentence = said.err.splitlines()
        beside = ("note: ", "read ", "left out of ")
        assert all(" left out: " in note or note.startswith(beside) for note in notes)
        assert sentence.startswith("ganvas: ")
        assert sentence.endswith(".")
        assert "a bug of ours" not in sentence
        assert sorted(here.rglob("*")) == before
        return sentence.removeprefix("ganvas: ")

    return command
