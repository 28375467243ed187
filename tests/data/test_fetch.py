from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import sentence, write
from originals import faces, zipped

from ganvas.data import lsun, named
from ganvas.data.fetch import fetch
from ganvas.data.named import SETS, Download, NamedSet
from ganvas.errors import DataError, UsageError

CONTENT = b"a small file that stands for a large one"
RIGHT = {kind: f"{kind}:{hashlib.new(kind, CONTENT, usedforsecurity=False).hexdigest()}" for kind in ("md5", "sha256")}
SHA256 = RIGHT["sha256"].partition(":")[2]


class Publisher:
    """A web server with one file, what was asked of it, and a way to change the file."""

    def __init__(self, root: Path) -> None:
        self.file, self.asked = root / "set.tar.gz", list[str]()
        self.file.write_bytes(CONTENT)
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(root))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def url(self, name: str = "set.tar.gz") -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"


@pytest.fixture
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path_factory.mktemp("publisher"))
    with publisher.server as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield publisher
        server.shutdown()


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str | None], None]:
    """Puts `small` among the named sets; the cache is empty."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def put(url: str, checksum: str | None) -> None:
        small = NamedSet("Small", "set.tar.gz", lambda path: None, (Download(url, "set.tar.gz", checksum),))
        monkeypatch.setitem(SETS, "small", small)

    return put


Put = Callable[[str, str | None], None]


@pytest.mark.parametrize("checksum", [*RIGHT.values(), None])
def test_fetches_once_and_keeps_the_digest(
    checksum: str | None, publisher: Publisher, put: Put, tmp_path: Path
) -> None:
    put(publisher.url(), checksum)
    folder = tmp_path / "cache" / "datasets" / "small"
    assert [fetch("small") for _ in range(3)] == [folder] * 3
    assert publisher.asked == ["/set.tar.gz"]
    assert (folder / "set.tar.gz").read_bytes() == CONTENT
    assert (folder / "set.tar.gz.sha256").read_text() == f"{SHA256}  set.tar.gz\n"
    assert len(list(folder.iterdir())) == 2
    assert fetch("small", tmp_path / "mine") == tmp_path / "mine"
    assert (tmp_path / "mine" / "set.tar.gz").read_bytes() == CONTENT
    assert len(publisher.asked) == 2


def test_a_file_that_somebody_put_there_is_taken(publisher: Publisher, put: Put, tmp_path: Path) -> None:
    put(publisher.url(), RIGHT["md5"])
    (tmp_path / "set.tar.gz").write_bytes(CONTENT)
    assert fetch("small", tmp_path) == tmp_path
    assert publisher.asked == []
    assert (tmp_path / "set.tar.gz.sha256").read_text().startswith(SHA256)


@pytest.mark.parametrize("checksum", [RIGHT["md5"], None])
@pytest.mark.parametrize("damage", [CONTENT[:-1], b"", b"another file"])
def test_a_file_that_has_changed_since_is_fetched_anew(
    damage: bytes, checksum: str | None, publisher: Publisher, put: Put, tmp_path: Path
) -> None:
    put(publisher.url(), checksum)
    fetch("small", tmp_path)
    (tmp_path / "set.tar.gz").write_bytes(damage)
    fetch("small", tmp_path)
    assert (tmp_path / "set.tar.gz").read_bytes() == CONTENT
    (tmp_path / "set.tar.gz").unlink()
    fetch("small", tmp_path)
    assert len(publisher.asked) == 3


def refused(name: str = "small", dest: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        fetch(name, dest)
    return sentence(caught.value)


@pytest.mark.parametrize("wrong", ["md5:" + "0" * 32, "sha256:" + "0" * 64])
def test_nothing_is_kept_of_a_file_that_is_not_the_published_one(
    wrong: str, publisher: Publisher, put: Put, tmp_path: Path
) -> None:
    put(publisher.url(), wrong)
    text = refused(dest=tmp_path / "mine")
    assert all(part in text for part in (publisher.url(), wrong, str(tmp_path / "mine" / "set.tar.gz")))
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_first_download_holds_from_then_on(publisher: Publisher, put: Put, tmp_path: Path) -> None:
    put(publisher.url(), None)
    fetch("small", tmp_path)
    publisher.file.write_bytes(b"what the publisher put there later")
    fetch("small", tmp_path)  # it is here already
    (tmp_path / "set.tar.gz").unlink()
    assert f"did not give the file of sha256:{SHA256}" in refused(dest=tmp_path)
    assert not (tmp_path / "set.tar.gz").exists()


def test_without_a_network_says_what_to_do(put: Put, tmp_path: Path) -> None:
    put("http://127.0.0.1:9/set.tar.gz", RIGHT["md5"])
    text = refused(dest=tmp_path)
    assert "http://127.0.0.1:9/set.tar.gz could not be fetched (no connection): check the network" in text
    assert str(tmp_path / "set.tar.gz") in text
    assert list(tmp_path.iterdir()) == []


def test_what_the_publisher_has_not_is_said_by_its_number(publisher: Publisher, put: Put, tmp_path: Path) -> None:
    put(publisher.url("moved.tar.gz"), RIGHT["md5"])
    assert "could not be fetched (HTTP 404)" in refused(dest=tmp_path)


def test_a_place_that_cannot_be_written_is_named(publisher: Publisher, put: Put, tmp_path: Path) -> None:
    put(publisher.url(), RIGHT["md5"])
    (tmp_path / "file").write_bytes(b"")
    text = refused(dest=tmp_path / "file" / "under")
    assert f"{tmp_path / 'file' / 'under' / 'set.tar.gz'} cannot be written" in text


def test_an_unknown_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        fetch("cifar-10")


def test_every_file_of_a_set_is_fetched_and_only_what_is_missing(
    publisher: Publisher, put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(publisher.url(), None)
    files = tuple(replace(SETS["small"].downloads[0], file=name) for name in ("a.mat", "b.mat"))
    monkeypatch.setitem(SETS, "small", replace(SETS["small"], downloads=files))
    fetch("small", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mat", "a.mat.sha256", "b.mat", "b.mat.sha256"]
    (tmp_path / "b.mat").unlink()
    fetch("small", tmp_path)
    assert len(publisher.asked) == 3


def test_every_file_has_a_checksum_and_goes_where_the_spec_of_its_set_looks(tmp_path: Path) -> None:
    fetched = {name: one for name, one in SETS.items() if one.downloads}
    assert {download.file: download.checksum for one in fetched.values() for download in one.downloads} == {
        "cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530",  # as the publisher's page has it
        "cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8",
        "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
        "extra_32x32.mat": "md5:a93ce644f1a588dc4d68dda5feec44a7",
    }
    for name, one in fetched.items():
        for download in one.downloads:
            assert download.url.endswith(f"/{download.file}")
            write(tmp_path / name, {download.file: b""})
        source = one.here(tmp_path / name)
        assert source is not None
        with pytest.raises(DataError):  # the empty files are taken for the set
            source.scan()


@pytest.mark.parametrize(("name", "asks"), [("celeba", ["img_align_celeba.zip"]), ("lsun-bedroom", lsun.PACKED)])
def test_where_there_is_no_plain_download_says_what_to_get_and_where_to_put_it(
    name: str, asks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    for dest, folder in ((None, named.folder(name)), (tmp_path / "mine", tmp_path / "mine")):
        text = refused(name, dest)
        assert all(file in text for file in [*asks, str(folder), "http"])
        assert not folder.exists()


def test_what_somebody_put_there_is_fetched(tmp_path: Path) -> None:
    zipped(tmp_path / "img_align_celeba.zip", faces(1))
    assert fetch("celeba", tmp_path) == tmp_path
