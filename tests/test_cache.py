"""What the cache keeps, and how it gets smaller."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas import cache, locks, training, weights
from ganvas.data import open_data
from ganvas.data.passing import passing
from ganvas.data.store import Building, Store, obtain
from ganvas.errors import DataError

DAY = 86_400


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, of which nothing was used yet."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_used", set())
    return tmp_path / "cache"


def pictures(folder: Path, n: int = 4, side: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def stores(root: Path) -> list[Path]:
    """Everything in the folder of stores, whatever its name."""
    return sorted((root / "stores").iterdir())


def specs() -> set[str]:
    return {entry.what for entry in cache.entries()}


def filled(name: str, kilobytes: int = 1) -> Path:
    """A store of so many bytes, built for the spec of that name; its folder."""

    def build(store: Building) -> None:
        store.describe(name, "")
        store.column("x", "uint8").append(np.zeros(1000 * kilobytes, np.uint8))

    before = set(cache.stores().glob("*"))
    obtain(name, build)
    (folder,) = set(cache.stores().glob("*")) - before
    return folder


def unused_for(path: Path, days: float) -> None:
    """Lets something be last used and written so long ago."""
    then = time.time() - days * DAY
    for one in [*path.rglob("*"), path]:
        os.utime(one, (then, then))


# ---- what takes the place of what -----------------------------------------------------------------------------------
def test_what_is_read_of_a_folder_takes_the_place_of_what_was_read_before(root: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "faces")
    for change in range(4):
        os.utime(folder / "0.png", (change, change))
        pictures(folder, 4 + change)
        assert len(open_data(str(folder))) == 4 + change
        assert len(stores(root)) == 1
    (folder / "0.png").unlink()
    assert len(open_data(str(folder))) == 6
    assert len(stores(root)) == 1


def test_other_preparations_and_other_folders_stay(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        str(pictures(tmp_path / name / "faces")) + key for name in "ab" for key in ("", "?size=4", "?channels=grey")
    ]
    for spec in asked * 2:
        open_data(spec)
    assert len(stores(root)) == 6
    for name in "abab":  # one relative path, in two working folders
        monkeypatch.chdir(tmp_path / name)
        open_data("faces")
    assert len(stores(root)) == 6


@pytest.mark.parametrize(
    "files",
    [["trainA/0.png", "trainB/1.png"], ["A/0.png", "B/0.png"], ["train_label/0.png", "train_img/0.png"]],
)
def test_rows_of_several_pictures_take_the_place_of_what_was_read_before(
    files: list[str], root: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for change in range(3):
        for name in files:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((6, 6) if "label" in name else (6, 6, 3), change, np.uint8)
            Image.fromarray(pixels).save(data / name)
            os.utime(data / name, (change, change))
        open_data(f"{data}?load_size=6")
        assert len(stores(root)) == 1


def test_a_file_that_is_written_again_takes_its_own_place(root: Path, tmp_path: Path) -> None:
    for change in range(3):
        np.save(tmp_path / "a.npy", np.full((2, 4, 4, 3), change, np.uint8))
        os.utime(tmp_path / "a.npy", (change, change))
        open_data(str(tmp_path / "a.npy"))
        assert len(stores(root)) == 1


def test_what_is_open_is_read_on_after_its_place_was_taken(root: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "faces")
    before = open_data(str(folder))
    pixels = before.pixels(np.arange(4))
    pictures(folder, 5)
    open_data(str(folder))
    assert len(stores(root)) == 1
    assert np.array_equal(before.pixels(np.arange(4)), pixels)


def test_training_ends_in_a_sentence_when_its_store_is_cut_short_and_goes_on_with_a_new_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = pictures(tmp_path / "faces", 20, 16), tmp_path / "run"
    wanted: dict[str, Any] = {"data": str(folder), "preset": "tiny", "steps": 6, "batch_size": 4, "checkpoint_every": 2}
    save_sheets = training.save_sheets

    def cut(*arguments: Any, **more: Any) -> None:
        save_sheets(*arguments, **more)
        if (out / "checkpoint-00000004").exists():
            for file in (root / "stores").glob("*/train.image.bin"):
                os.truncate(file, 100)

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_sheets", cut)
        with pytest.raises(
            DataError, match=r"cut short by another program.*; the last checkpoint is .*checkpoint-00000004"
        ):
            training.train("vae", out=out, quiet=True, **wanted)
    assert max(training.train("vae", out=out, quiet=True, **wanted).checkpoints()) == 6
    assert len(stores(root)) == 1


# ---- what there is, and pruning -------------------------------------------------------------------------------------
def test_stores_say_what_they_are_of(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    open_data("faces?size=4")
    (entry,) = cache.entries()
    assert (entry.kind, entry.what, entry.source) == ("store", "faces?size=4", str(tmp_path / "faces"))
    assert entry.bytes == sum(path.stat().st_size for path in entry.path.rglob("*"))
    assert abs(entry.used - time.time()) < 60


def test_a_store_of_before_that_says_nothing_goes_by_its_address(root: Path) -> None:
    folder = filled("some")
    manifest = json.loads((folder / "manifest.json").read_text())
    for content in (json.dumps({name: manifest[name] for name in manifest if name != "about"}), "", "[" * 100_000):
        (folder / "manifest.json").write_text(content)
        assert specs() == {folder.name}


def test_pruning_goes_by_age(root: Path) -> None:
    for name, days in (("old", 40), ("older", 50), ("young", 3)):
        unused_for(filled(name), days)
    assert [entry.what for entry in cache.prune(older_than_days=30, dry_run=True)] == ["older", "old"]
    assert specs() == {"old", "older", "young"}
    assert [entry.what for entry in cache.prune(older_than_days=30)] == ["older", "old"]
    assert specs() == {"young"}
    assert len(stores(root)) == 1


def test_pruning_by_size_takes_what_was_not_used_for_the_longest(root: Path) -> None:
    for name, days in (("a", 3), ("b", 1), ("c", 4), ("d", 2)):
        unused_for(filled(name, 100), days)
    assert [entry.what for entry in cache.prune(larger_than_gb=0.00025)] == ["c", "a"]
    assert cache.prune(larger_than_gb=0.00025) == []
    assert specs() == {"b", "d"}
    assert cache.prune() == []
    assert [entry.what for entry in cache.prune(older_than_days=1.5, larger_than_gb=0.001)] == ["d"]


def test_to_open_a_store_is_to_use_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unused_for(filled("some"), 40)
    unused_for(filled("other"), 40)
    monkeypatch.setattr(cache, "_used", set())  # as a new process
    obtain("some", lambda store: None)
    assert [entry.what for entry in cache.prune(older_than_days=30)] == ["other"]


def test_to_list_what_there_is_uses_nothing(root: Path) -> None:
    folder = filled("some")
    unused_for(folder, 40)
    cache.entries()
    assert cache.entries()[0].used == pytest.approx(time.time() - 40 * DAY, abs=60)


def test_what_is_in_use_stays(root: Path) -> None:
    folder = filled("some")
    opened = Store(folder)
    unused_for(folder, 40)
    assert cache.prune(older_than_days=30) == []
    assert specs() == {"some"}
    del opened
    assert len(cache.prune(older_than_days=30)) == 1


def test_a_set_that_is_being_downloaded_stays(root: Path) -> None:
    folder = root / "datasets" / "small"
    folder.mkdir(parents=True)
    for name in ("a.zip", "a.zip.sha256"):
        (folder / name).write_bytes(b"12345")
    with cache.fetching(folder / "b.zip"):
        assert cache.prune(older_than_days=0) == []
        assert (folder / "a.zip").exists()
    assert [entry.what for entry in cache.prune(older_than_days=0)] == ["small"]


def test_a_mark_is_made_though_somebody_looks_for_one(tmp_path: Path) -> None:
    """To look is to hold the lock for a moment."""
    (tmp_path / "a").touch()
    look, mark = (os.open(tmp_path / "a", os.O_RDONLY) for _ in range(2))
    fcntl.flock(look, fcntl.LOCK_EX)
    threading.Timer(0.2, fcntl.flock, (look, fcntl.LOCK_UN)).start()
    locks.share(mark)
    assert locks.is_held(tmp_path / "a")
    for handle in (look, mark):
        os.close(handle)


def test_what_is_not_ours_stays(root: Path) -> None:
    kept = [
        "stores/notes.txt", "stores/.git/config", "tmp/a", "datasets/celeba/img_align_celeba.zip", "weights/mine.pth",
        "moments/a.txt", "documents/.a.b", ".lock", "features/mine.safetensors", "hub/models--x--y/blobs/b",
        f"stores/{'0' * 32}/mine.txt", "datasets/x/.a.part", "faces/a.safetensors", "weights/my.lock",
    ]  # fmt: skip
    for name in kept:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"mine")
    unused_for(root, 400)
    cache.prune(older_than_days=0, larger_than_gb=0)
    cache.clean_up()
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(kept)
    why = {entry.what: entry.kept for entry in cache.entries()}
    assert why == dict.fromkeys(("celeba", "x", "mine.pth"), "not fetched by ganvas")


def test_downloads_and_figures_are_pruned_as_well(root: Path) -> None:
    net = next(iter(weights.TABLE.values())).files[0][0]
    files = [f"weights/{net}", f"weights/{net}.sha256", "datasets/small/a.zip", "datasets/small/a.zip.sha256",
             f"moments/{'0' * 32}.safetensors", f"readings/{'0' * 32}.json"]  # fmt: skip
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")
    assert {(entry.kind, entry.what) for entry in cache.entries()} == {
        ("download", net), ("download", "small"), ("figures", "moments"), ("figures", "readings"),
    }  # fmt: skip
    unused_for(root, 40)
    cache.mark_used(root / "weights" / net)
    assert {entry.what for entry in cache.prune(older_than_days=30)} == {"small", "moments", "readings"}
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == sorted(Path(f).name for f in files[:2])
    cache.prune(larger_than_gb=0)
    assert [path for path in root.rglob("*") if path.is_file()] == []


# ---- what killed processes leave ------------------------------------------------------------------------------------
ALONE = """
import sys, types
import ganvas
sys.modules["ganvas.data"] = alone = types.ModuleType("ganvas.data")  # without its other modules: torch takes seconds
alone.__path__ = [ganvas.__path__[0] + "/data"]
import time, numpy as np
from ganvas.data.passing import passing
from ganvas.data.store import obtain

def build(store):
    store.column("x", "uint8").append(np.zeros(100_000, np.uint8))

def slow(store):
    build(store)
    print("at work", flush=True)
    time.sleep(600)
"""
SLOW = {
    "a store": 'obtain("killed", slow)',
    "a store of one use, half-done": "passing(slow)",
    "a store of one use": 'kept = passing(build); print("at work", flush=True); time.sleep(600)',
}


@pytest.fixture
def at_work() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process with that code, and waits until it is at work."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", ALONE + code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("code", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_leaves_goes_with_the_next_store_and_what_lives_stays(
    code: str, how: signal.Signals, root: Path, at_work: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = at_work(code)
    cache.clean_up()
    filled("other")
    there = [path for path in stores(root) if path.name.endswith(".part")]
    assert len(there) == 1
    assert len(list(there[0].iterdir())) >= 1
    process.send_signal(how)
    process.wait()
    assert there[0].exists()
    filled("third")
    assert [path.name for path in stores(root) if path.name.startswith(".")] == []
    assert specs() == {"other", "third"}


def test_cleaning_up_tells_how_much_it_was(root: Path, at_work: Callable[[str], subprocess.Popen[str]]) -> None:
    process = at_work(SLOW["a store of one use"])
    assert cache.clean_up() == 0
    process.kill()
    process.wait()
    assert cache.clean_up() > 100_000
    assert stores(root) == []


def test_a_store_of_one_use_goes_with_its_holder_or_when_it_fails(root: Path) -> None:
    def build(store: Building) -> None:
        store.column("x", "uint8").append(np.arange(9, dtype=np.uint8))

    store = passing(build)
    filled("other")
    assert store.columns["x"].all().tolist() == list(range(9))
    assert specs() == {"other"}
    del store
    assert [path.name for path in stores(root) if path.name.startswith(".")] == []

    def broken(store: Building) -> None:
        build(store)
        raise FileNotFoundError(2, "No such file or directory", "source.png")

    with pytest.raises(FileNotFoundError, match=r"source\.png"):
        passing(broken)
    assert [path.name for path in stores(root) if path.name.startswith(".")] == []


def test_locks_of_before_are_cleared(root: Path) -> None:
    folder = filled("some")
    (root / "stores" / f"{'0' * 32}.lock").touch()
    (root / "stores" / f"{folder.name}.lock").touch()
    filled("other")
    assert all(path.is_dir() for path in stores(root))


# ---- locks ----------------------------------------------------------------------------------------------------------
def test_of_many_who_want_a_lock_one_has_it_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    inside, most, turns = [0], [0], [0]

    def work() -> None:
        for _ in range(50):
            with locks.locked(tmp_path / "a.lock"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                turns[0] += 1
                time.sleep(0.0001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], turns[0]) == (1, 300)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_somebody_has_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locks.locked(path):
        with locks.attempted(path) as mine:
            assert not mine
        assert path.exists()
    with locks.attempted(path) as mine:
        assert mine
    assert not path.exists()


# ---- downloads ------------------------------------------------------------------------------------------------------
CONTENT = os.urandom(3_000_000)


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], threading.Event]]:
    """Gives a net called `small`, most of it at once and the rest when the event is set; and what was asked."""
    asked: list[str] = []
    go_on = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:2_200_000])
            self.wfile.flush()
            go_on.wait(60)
            self.wfile.write(CONTENT[2_200_000:])

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *args: None  # type: ignore[method-assign]  # who asked was killed
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/small.pth"
        entry = weights.Published("a small net", url, 1, (("small.pth", hashlib.sha256(CONTENT).hexdigest()),))
        monkeypatch.setitem(weights.TABLE, "small", entry)
        yield asked, go_on
        go_on.set()
        server.shutdown()


FETCH = """
import sys
from ganvas import weights
weights.TABLE["small"] = weights.Published("a small net", sys.argv[1], 1, (("small.pth", sys.argv[2]),))
weights.fetch("small")
"""


@pytest.fixture
def fetching() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process that fetches `small`."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        entry = weights.TABLE["small"]
        command = [sys.executable, "-c", FETCH, entry.url, entry.files[0][1]]
        started.append(subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_download_that_is_killed_leaves_nothing_for_long(
    how: signal.Signals,
    root: Path,
    publisher: tuple[list[str], threading.Event],
    fetching: Callable[[], subprocess.Popen[bytes]],
) -> None:
    asked, go_on = publisher
    process = fetching()
    wait_for(lambda: [path for path in (root / "weights").glob(".small.*") if path.stat().st_size > 1_000_000])
    cache.clean_up()
    filled("another")
    assert len(list((root / "weights").glob(".small.*.part*"))) == 1  # it is being written
    process.send_signal(how)
    process.wait()
    filled("third")
    assert list((root / "weights").iterdir()) == []
    go_on.set()
    assert weights.fetch("small").read_bytes() == CONTENT
    assert [path.name for path in (root / "weights").iterdir()] == ["small.pth"]
    assert len(asked) == 2


def test_of_two_who_fetch_a_file_one_does(
    root: Path, publisher: tuple[list[str], threading.Event], fetching: Callable[[], subprocess.Popen[bytes]]
) -> None:
    asked, go_on = publisher
    one = fetching()
    wait_for(lambda: asked)
    other = fetching()
    time.sleep(0.5)
    go_on.set()
    assert [one.wait(60), other.wait(60)] == [0, 0]
    assert len(asked) == 1
    assert [path.name for path in (root / "weights").iterdir()] == ["small.pth"]


def test_what_a_killed_download_left_in_a_folder_of_the_user_goes_with_the_next(
    root: Path, tmp_path: Path, publisher: tuple[list[str], threading.Event]
) -> None:
    publisher[1].set()
    (tmp_path / "mine").mkdir()
    for name in (".small.01234567.part.pth", ".other.01234567.part.pth", "note.txt"):
        (tmp_path / "mine" / name).write_bytes(b"half")
    handle = locks.acquire(tmp_path / "mine" / ".other.pth.lock")
    assert handle is not None
    weights.fetch("small", tmp_path / "mine")
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names >= {"small.pth", "note.txt"}
    assert ".small.01234567.part.pth" not in names
    locks.release(tmp_path / "mine" / ".other.pth.lock", handle)


def test_a_net_that_is_read_counts_as_used(root: Path, publisher: tuple[list[str], threading.Event]) -> None:
    publisher[1].set()
    path = weights.fetch("small")
    unused_for(path, 40)
    written = path.stat().st_mtime_ns
    weights.find("small")
    (entry,) = cache.entries()
    assert time.time() - entry.used < 60
    assert path.stat().st_mtime_ns == written
