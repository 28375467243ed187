from __future__ import annotations

import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from ganvas import weights
from ganvas.errors import Damaged, MissingWeights, UsageError
from ganvas.games import pix2pixhd
from ganvas.metrics import TABLE

CONTENT = b"a small file that stands for a large one"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def entry(url: str, digest: str) -> weights.Published:
    return weights.Published("a small net", url, 1, (("small-net.pth", digest), ("small_features.pt", DIGEST)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty GANVAS_WEIGHTS, and a row `small` in the table whose publisher gives eight digits of its digest."""
    monkeypatch.setenv("GANVAS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(weights.TABLE, "small", entry("http://127.0.0.1:9/small-net.pth", DIGEST[:8]))
    return tmp_path


@pytest.fixture
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """A web server with the small file: its address, and what was asked of it."""
    root = tmp_path_factory.mktemp("publisher")
    (root / "small-net.pth").write_bytes(CONTENT)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/small-net.pth", asked
        server.shutdown()


def test_finds_any_of_the_files_in_the_named_folder_then_in_the_cache(folder: Path) -> None:
    cached = folder / "cache" / "weights" / "small-net.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    assert weights.find("small") == cached
    (folder / "small_features.pt").write_bytes(CONTENT)
    assert weights.find("small") == folder / "small_features.pt"
    (folder / "small-net.pth").write_bytes(CONTENT)
    assert weights.find("small") == weights.find("small_features.pt") == folder / "small-net.pth"


def test_the_short_names_of_perceptual_losses_are_names_of_weights(folder: Path) -> None:
    """As --perceptual says them, `ganvas fetch` takes them."""
    kinds = get_args(get_type_hints(pix2pixhd.Config)["perceptual"])
    assert set(kinds) - {"auto", "none"} <= set(weights.names())
    for short, name in weights.ALIASES.items():
        with pytest.raises(MissingWeights, match=f"run `ganvas fetch {name}`"):
            weights.find(short)
        (folder / weights.TABLE[name].files[0][0]).write_bytes(b"")
        assert weights.at_hand(short)


@pytest.mark.parametrize("name", weights.TABLE)
def test_a_missing_file_is_one_line_with_all_one_needs(name: str, folder: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        weights.find(name)
    line = str(caught.value)
    assert "\n" not in line
    row = weights.TABLE[name]
    assert all(part in line for part in (row.what, row.url, f"ganvas fetch {name}", str(folder), row.files[0][0]))


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", b"another file of any kind"])
def test_a_truncated_or_foreign_file_is_named_with_both_digests(content: bytes, folder: Path) -> None:
    for name, published in (("small-net.pth", DIGEST[:8]), ("small_features.pt", DIGEST)):
        path = folder / name
        path.write_bytes(content)
        with pytest.raises(Damaged) as caught:
            weights.find("small")
        assert all(part in str(caught.value) for part in (str(path), hashlib.sha256(content).hexdigest(), published))
        path.unlink()


def test_reads_a_file_once_for_its_digest_but_again_after_it_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reads = folder / "small-net.pth", []
    real = weights.sha256
    monkeypatch.setattr(weights, "sha256", lambda path: reads.append(path) or real(path))
    path.write_bytes(CONTENT)
    assert [weights.find("small") for _ in range(3)] == [path] * 3
    assert reads == [path]
    path.write_bytes(bytes(reversed(CONTENT)))
    os.utime(path, ns=(1, 1))
    with pytest.raises(Damaged):
        weights.find("small")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'squeezenet1_1'"):
        weights.find("squeezenet11")


def test_loads_tensors_and_never_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(folder / "executed"),)

    path = folder / "small-net.pth"
    torch.save({"features.0.weight": torch.arange(3.0)}, path)
    monkeypatch.setitem(weights.TABLE, "small", entry("", weights.sha256(path)))
    assert weights.load("small")["features.0.weight"].tolist() == [0, 1, 2]
    torch.save(Bomb(), path)
    monkeypatch.setitem(weights.TABLE, "small", entry("", weights.sha256(path)))
    with pytest.raises(Damaged, match=r"holds code, posix\.mkdir, which is not run"):
        weights.load("small")
    assert not (folder / "executed").exists()


def test_fetches_once_and_holds_the_file_to_its_first_digest(
    folder: Path, publisher: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = publisher
    monkeypatch.setitem(weights.TABLE, "small", entry(url, DIGEST[:8]))
    path = weights.fetch("small")
    assert path == weights.fetch("small") == weights.find("small") == folder / "cache" / "weights" / "small-net.pth"
    assert path.read_bytes() == CONTENT
    assert len(asked) == 1
    record = path.with_name("small-net.pth.sha256")
    assert record.read_text() == f"{DIGEST}  small-net.pth\n"
    record.write_text(f"{DIGEST[:8]}{'0' * 56}  small-net.pth\n")  # as if the first download had been another file
    with pytest.raises(Damaged, match="0000"):
        weights.find("small")


def test_a_record_that_is_no_text_is_damage(folder: Path) -> None:
    (folder / "small-net.pth").write_bytes(CONTENT)
    for record in (b"\xff\xfe\x80", bytes(1 << 17)):
        (folder / "small-net.pth.sha256").write_bytes(record)
        with pytest.raises(Damaged, match=r"small-net\.pth\.sha256 cannot be read .*: delete it"):
            weights.find("small")


def test_fetches_a_damaged_file_again_and_into_any_folder(
    folder: Path, publisher: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.TABLE, "small", entry(publisher[0], DIGEST))
    path = folder / "elsewhere" / "small-net.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:5])
    assert weights.fetch("small", path.parent, progress=True) == path
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["small-net.pth"]  # a full digest needs no record


def test_keeps_nothing_of_a_wrong_download(
    folder: Path, publisher: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.TABLE, "small", entry(publisher[0], "0" * 8))
    with pytest.raises(Damaged, match=DIGEST):
        weights.fetch("small", folder)
    assert list(folder.iterdir()) == []


def test_fetches_all_that_metrics_need_by_one_name(
    folder: Path, publisher: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {name for name, entry in weights.TABLE.items() if entry.usual and name != "small"}
    assert usual == {weight for row in TABLE.values() if row.by_default for weight in row.weights}
    rare = weights.Published("a rare net", publisher[0], 1, (("rare.pth", DIGEST),), usual=False)
    monkeypatch.setattr(weights, "TABLE", {"small": entry(publisher[0], DIGEST), "rare": rare})
    assert not weights.at_hand("small")
    assert weights.fetch(weights.USUAL, folder / "some") == folder / "some"
    assert [file.name for file in (folder / "some").iterdir()] == ["small-net.pth"]
    assert weights.fetch("metrics") == folder / "cache" / "weights"
    assert weights.at_hand("small")


def test_without_a_network_says_what_to_do(folder: Path) -> None:
    with pytest.raises(MissingWeights, match=r"cannot be downloaded .*small-net\.pth") as caught:
        weights.fetch("small", folder)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_the_shared_files_are_those_published(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    first = {
        "alexnet": [0.11864, 0.09407, 0.09544],
        "vgg16-conv1-2": [-0.55373, 0.14270, 0.52896],
    }
    for name, values in first.items():
        found = weights.load(name)["features.0.weight"].flatten()[:3]
        torch.testing.assert_close(found, torch.tensor(values), atol=1e-5, rtol=0)
    for name in ("squeezenet1_1", "lpips-alex", "lpips-squeeze", "lpips-vgg"):
        assert all(value.dtype == torch.float32 for value in weights.load(name).values())
    with pytest.raises(MissingWeights, match="VGG16"):
        weights.find("vgg16")
