"""Two ranks over gloo: the same training as one process with the whole batch."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import toys
from ganvas import parallel
from toys import TOYS, Toy

F64 = torch.float64
WORLD = 2
MEMORIES = [toys.Remembering, toys.Dials]  # games whose ranks hold something of their own
every_toy = pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.__name__)


def rank_plays(toy: type[Toy], rank: int, first: int, last: int, state: Any = None, weights: int = 0) -> Any:
    """This rank's engine after some rounds on its own rows."""
    engine = toys.build(toy, F64, weights=weights)
    if state is not None:
        engine.load_state_dict(state)
    for step in range(first, last):
        engine.step(toys.batch(toy, step, F64, rank=rank, world=WORLD))
    return engine


def work(rank: int, folder: str) -> None:
    """What each of the two ranks does for all tests of this file at once; starting them is what takes time."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    found: dict[str, Any] = {}
    for toy in TOYS:
        engine = rank_plays(toy, rank, 0, 10, weights=rank)  # rank 1 starts elsewhere, and is put right
        engine.evaluate(toys.batch(toy, 99, F64, rank=rank, world=WORLD), index=0)
        found[toy.__name__] = {"all": toys.everything(engine), "logs": engine.tick()}
    for toy in MEMORIES:
        half = rank_plays(toy, rank, 0, 6)
        torch.save(half.state_dict(), f"{folder}/state-{rank}.pt")
        parallel.barrier()
        for name, source in ("own", rank), ("first", 0):
            state = torch.load(f"{folder}/state-{source}.pt", weights_only=True)
            engine = rank_plays(toy, rank, 6, 10, state, weights=9)
            found[f"{toy.__name__} from {name}"] = {"all": toys.everything(engine)}
        parallel.barrier()
    mixed = [torch.full((2, 3), float(rank)), torch.full((1,), 4.0 * rank, dtype=F64), torch.tensor([7.0 - rank])]
    mixed.append(torch.full((2, 3, 4, 4), float(rank)).to(memory_format=torch.channels_last))
    parallel.average(mixed)
    image = (torch.arange(48.0).reshape(1, 3, 4, 4) + 100 * rank).to(memory_format=torch.channels_last)
    parallel.broadcast([image, weight := torch.nn.Parameter(torch.full((2,), float(rank)))])
    found["tools"] = {
        "average": mixed,
        "broadcast": [image, weight.detach()],
        "gather": parallel.gather({"rank": rank}),
        "agree": [parallel.agree(rank == 1), parallel.agree(False)],
        "place": [parallel.rank(), parallel.world()],
    }
    torch.save(found, f"{folder}/found-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.start_processes(work, (str(folder),), nprocs=WORLD, start_method="forkserver")
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(WORLD)]


@every_toy
def test_two_ranks_equal_one_process(toy: type[Toy], ranks: list[dict[str, Any]]) -> None:
    if toy.meet:
        pytest.skip(toy.meet)
    whole = toys.build(toy, F64)
    toys.play(whole, toy, 0, 10, F64)
    whole.evaluate(toys.batch(toy, 99, F64), index=0)
    want, logs = toys.everything(whole), whole.tick()
    for rank in ranks:
        got = rank[toy.__name__]
        # sums of logs are a rank's own until the tick: only their means are the whole batch's
        training = {name: value for name, value in got["all"].items() if not name.startswith("log/")}
        assert toys.differing({name: want[name] for name in training}, training, 1e-11) == []
        assert got["logs"].keys() == logs.keys()
        assert all(math.isclose(got["logs"][key], logs[key], abs_tol=1e-11) for key in logs)


@every_toy
def test_ranks_stay_in_step(toy: type[Toy], ranks: list[dict[str, Any]]) -> None:
    """Whatever the rows do to each other: one set of weights, one report."""
    first, second = (rank[toy.__name__] for rank in ranks)
    weights = [name for name in first["all"] if not name.startswith(("log/", "memory/")) and "running" not in name]
    assert toys.differing(*({name: rank["all"][name] for name in weights} for rank in (first, second))) == []
    assert first["logs"] == second["logs"]


@pytest.mark.parametrize("toy", MEMORIES, ids=lambda toy: toy.__name__)
def test_each_rank_resumes_from_its_own_memory(toy: type[Toy], ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        resumed = {k: v for k, v in rank[f"{toy.__name__} from own"]["all"].items() if not k.startswith("log/")}
        straight = {k: v for k, v in rank[toy.__name__]["all"].items() if not k.startswith("log/")}
        assert toys.differing(resumed, straight) == []


def test_another_ranks_memory_would_not_do(ranks: list[dict[str, Any]]) -> None:
    resumed, straight = (ranks[1][name]["all"] for name in ("Remembering from first", "Remembering"))
    assert "weights/D.conv.weight" in toys.differing(resumed, straight)


def test_ranks_exchange(ranks: list[dict[str, Any]]) -> None:
    for number, rank in enumerate(ranks):
        tools = rank["tools"]
        assert [float(t.flatten()[0]) for t in tools["average"]] == [0.5, 2.0, 6.5, 0.5]
        assert tools["average"][3].is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(tools["broadcast"][0], torch.arange(48.0).reshape(1, 3, 4, 4))
        assert tools["broadcast"][1].tolist() == [0.0, 0.0]
        assert tools["gather"] == [{"rank": 0}, {"rank": 1}]
        assert tools["agree"] == [True, False]
        assert tools["place"] == [number, 2]


# ---- one process -----------------------------------------------------------------------------------------------------
def test_one_process_is_rank_0_of_1() -> None:
    tensors = [torch.ones(2)]
    parallel.average(tensors)
    parallel.broadcast(tensors)
    parallel.barrier()
    assert tensors[0].tolist() == [1.0, 1.0]
    assert (parallel.rank(), parallel.world()) == (0, 1)
    assert parallel.gather("x") == ["x"]
    assert parallel.agree(True)
    assert not parallel.agree(False)


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torchrun would put into the environment of the only process it starts."""
    for name, value in {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.usefixtures("announced")
def test_joins_and_leaves_the_group_that_torchrun_announces() -> None:
    with parallel.started("cpu"):
        assert dist.is_initialized()
        with parallel.started("cpu"):  # whoever is in a group already stays in it
            assert parallel.world() == 1
        assert dist.is_initialized()
    assert not dist.is_initialized()


@pytest.mark.usefixtures("announced")
def test_leaves_the_group_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="broken"), parallel.started("cpu"):
        raise RuntimeError("broken")
    assert not dist.is_initialized()


def test_stays_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.started("cpu"):
        assert not dist.is_initialized()


@pytest.mark.slow
def test_runs_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "hello.py"
    script.write_text(
        "import torch\n"
        "from ganvas import parallel\n"
        "with parallel.started('cpu'):\n"
        "    parallel.average([x := torch.tensor([float(parallel.rank())])])\n"
        "    print(f'rank {parallel.rank()} of {parallel.world()}: {x.item()}', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert sorted(done.stdout.split("\n"))[1:] == ["rank 0 of 2: 0.5", "rank 1 of 2: 0.5"]
