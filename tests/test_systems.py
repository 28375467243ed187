"""Every system there is: what the catalogue, the rules and the engine promise of all of them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

import toys
from cases import CHANGED, F64, PLAIN, SYSTEMS, Case, every_case, every_plain_case, every_system
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Game, Turn, minimise
from ganvas.nets.isola import ImagePool

WORLD = 2


class Still(nn.BatchNorm2d):
    """Batch norm by statistics that no batch changes, so that rows do not meet."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def started(game: Game, shares: int = 1, step: int = 78) -> Engine:
    """An engine at a round after which, in round 79, all is played that comes every 2nd, 4th, 5th or 16th time."""
    engine = Engine(game, seed=5, shares=shares, steps_per_epoch=2, total_steps=100)
    engine.clock = dataclasses.replace(engine.clock, step=step)
    return engine


def apart(case: Case, shares: int = 1, weights: int = 0) -> Engine:
    """An engine in float64 in whose game rows do not meet: no statistics of a batch, no dropout, no pool of images."""
    game = case.build(F64, weights)
    for module in game.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.__class__ = Still
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, ImagePool):
            module.size = 0
    return started(game, shares)


def meet(case: Case) -> str:
    """Why rows meet in spite of that, or nothing."""
    powers = any(is_parametrized(module) for module in case.build().modules())
    return "spectral norm: it iterates once a forward pass, and shares make more of them" if powers else ""


def play(engine: Engine, case: Case, rank: int = 0, world: int = 1) -> Engine:
    """Three rounds and a validation pass."""
    for step in range(3):
        engine.step(case.batch(step, F64, rank, world))
    engine.evaluate(case.batch(99, F64, rank, world), index=0)
    return engine


@functools.cache
def whole(case: Case) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What one process holds and logs after those rounds with the whole batch in one share."""
    engine = play(apart(case), case)
    return toys.everything(engine), engine.tick()


def assert_same_training(case: Case, got: dict[str, Tensor], logs: dict[str, float]) -> None:
    want, wanted_logs = whole(case)
    state = {name: value for name, value in want.items() if not name.startswith("log/")}
    assert toys.differing(state, {name: got[name] for name in got if not name.startswith("log/")}, 1e-10) == []
    assert logs.keys() == wanted_logs.keys()
    assert all(math.isclose(logs[key], value, rel_tol=1e-10, abs_tol=1e-10) for key, value in wanted_logs.items())


# ---- the catalogue ---------------------------------------------------------------------------------------------------
def test_systems_are_the_files_of_their_room() -> None:
    files = Path(games.__file__).parent.glob("[!_]*.py")
    assert sorted(SYSTEMS) == games.names() == sorted(file.stem.replace("_", "-") for file in files)
    for name, system in SYSTEMS.items():
        assert system.name == name
        assert Path(inspect.getfile(system.game)).stem.replace("_", "-") == name


@every_system
def test_every_system_finds_its_data_here(name: str) -> None:
    assert any(case.name == name for case in PLAIN), f"no schema of cases.py suits {name}: add one"


def declared(name: str) -> ast.Module:
    """The syntax tree of a system's file."""
    return ast.parse(Path(inspect.getfile(SYSTEMS[name].game)).read_text())


@every_system
def test_a_system_says_what_it_is_and_what_its_settings_do(name: str) -> None:
    system = SYSTEMS[name]
    assert re.fullmatch(r"\S.{10,110}\.", system.summary)
    assert re.search(r"\b(19|20)\d\d\b", system.game.__doc__ or ""), "cites no paper"
    (config,) = [node for node in declared(name).body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    helped = {
        leaf.target.id
        for leaf, text in itertools.pairwise(config.body)
        if isinstance(leaf, ast.AnnAssign) and isinstance(leaf.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and str(text.value.value).endswith(".")
    }
    assert helped == {leaf.name for leaf in dataclasses.fields(system.config)}


@every_system
def test_presets_are_one_aligned_table_of_settings_that_there_are(name: str) -> None:
    system = SYSTEMS[name]
    assert {"small", "tiny"} <= system.presets.keys()
    for preset, row in system.presets.items():
        leaves = {leaf: value for leaf, value in row.items() if leaf not in games.RESERVED}
        assert system.preset(preset) == (system.configure(leaves), {key: row[key] for key in games.RESERVED})
    (table,) = [
        node.value
        for node in declared(name).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "PRESETS"
    ]
    assert isinstance(table, ast.Dict)
    assert len({row.col_offset for row in table.values}) == 1
    assert len({row.lineno for row in table.values}) == len(table.values)


def test_unknown_systems_and_presets_get_the_nearest_name() -> None:
    for name in SYSTEMS:
        with pytest.raises(UsageError, match=f"There is no system '{name}x': did you mean '{name}'"):
            games.system(f"{name}x")
    with pytest.raises(UsageError, match="dcgan has no preset 'samll': did you mean 'small'"):
        games.system("dcgan").preset("samll")


@every_system
def test_unknown_settings_and_choices_get_the_nearest_name(name: str) -> None:
    system = SYSTEMS[name]
    for leaf, kind in get_type_hints(system.config).items():
        with pytest.raises(UsageError, match=f"{name} has no setting '{leaf}x': did you mean '{leaf}'"):
            system.configure({f"{leaf}x": 1})
        if get_origin(kind) is Literal:
            choice = get_args(kind)[-1]
            with pytest.raises(UsageError, match=f"{name} has no {leaf} '{choice}x': did you mean '{choice}'"):
                system.configure({leaf: f"{choice}x"})


@every_system
def test_settings_of_a_wrong_kind_or_out_of_range_are_refused_in_a_sentence(name: str) -> None:
    """Also a number in quotes, a word for a truth value, and what is no number: a run must not start on them."""
    system = SYSTEMS[name]
    for leaf, kind in get_type_hints(system.config).items():
        for value in [{}, "no"] if kind is bool else [{}, -1, math.nan, "1"]:
            with pytest.raises(UsageError, match=f"{leaf}.* must be .*, not |has no {leaf} "):
                system.configure({leaf: value})


# ---- the rules -------------------------------------------------------------------------------------------------------
def yields_inside_with(tree: ast.AST) -> list[int]:
    """The lines that break the rule: what a ``with`` sets must not outlive the stretch between two yields."""
    withs = (node for node in ast.walk(tree) if isinstance(node, (ast.With, ast.AsyncWith)))
    inner = (node for outer in withs for node in ast.walk(outer))
    return sorted({node.lineno for node in inner if isinstance(node, (ast.Yield, ast.YieldFrom))})


@pytest.mark.parametrize("path", sorted(Path(games.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_system_yields_inside_with(path: Path) -> None:
    assert yields_inside_with(ast.parse(path.read_text())) == []


def test_a_yield_inside_with_is_found() -> None:
    code = "def round(self):\n with frozen(self.D):\n  if x:\n   yield 1\n with a:\n  pass\n yield 2\n"
    assert yields_inside_with(ast.parse(code)) == [4]


@every_case
def test_a_round_waits_for_no_value(case: Case) -> None:
    """Tensors without values: whatever branches on one or reads one raises. The engine's part is played too, at several
    clocks, where a system has stages."""
    moved = set()
    with toys.fake_tensors():
        engine = started(case.build(), shares=2, step=79)
        for step in (79, 7, 63):
            if moved != engine.game.players().keys():
                engine.clock = dataclasses.replace(engine.clock, step=step)
                moved |= {name for turn in engine.step(case.batch(0)) for name in turn}
        engine.evaluate(case.batch(99), index=0)
    assert moved == engine.game.players().keys()


def test_a_round_that_reads_a_value_is_caught() -> None:
    class Reading(toys.Alternate):
        def round(self, image: Tensor) -> Iterator[Turn]:
            score = self.D(image).mean()
            yield minimise(self.critic, real=score / score.item())

    with toys.fake_tensors():
        engine = toys.build(Reading)
        with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense"):
            engine.step({"image": torch.zeros(4, 3, toys.SIDE, toys.SIDE)})


@every_plain_case
def test_a_validation_pass_changes_nothing(case: Case) -> None:
    engine = Engine(case.build(), seed=5, total_steps=100)
    engine.step(case.batch(0))
    before = toys.everything(engine)
    engine.evaluate(case.batch(1), index=3)
    after = {name: value for name, value in toys.everything(engine).items() if not name.startswith("log/valid/")}
    assert toys.differing(before, after) == []
    logs = engine.tick()
    valid = {name.removeprefix("valid/") for name in logs if name.startswith("valid/")}
    trained = {name for name in logs if not name.startswith("valid/") and not name.endswith("gradient_norm")}
    assert valid >= trained  # every turn is played, also those that this round left out
    assert all(math.isfinite(value) for value in logs.values())


@every_plain_case
def test_what_is_not_finite_is_named_with_its_player_and_step(case: Case) -> None:
    engine = Engine(case.build())
    for step in range(3):
        batch = case.batch(step)
        if step == 1:
            field = next(name for name, value in batch.items() if value.is_floating_point())
            batch[field].view(-1)[0] = math.nan
        engine.step(batch)
    players = "|".join(engine.game.players())
    with pytest.raises(FloatingPointError, match=rf"the gradient of ({players}) was not finite at step 1 "):
        engine.tick()


# ---- shares, ranks, precision ----------------------------------------------------------------------------------------
@every_case
def test_two_shares_equal_the_whole_batch(case: Case) -> None:
    """In float64, with batch norm by fixed statistics: the same weights, moments, averages and logs."""
    if reason := meet(case):
        pytest.skip(reason)
    engine = play(apart(case, shares=2), case)
    assert_same_training(case, toys.everything(engine), engine.tick())


def test_shares_do_differ_where_rows_meet() -> None:
    """So that the equality above says something: the same games with batch norm as it is."""
    case = Case("dcgan", "labelled")
    one, two = (play(started(case.build(F64), shares), case) for shares in (1, 2))
    assert toys.differing(toys.everything(one), toys.everything(two), 1e-6)


def work(rank: int, folder: str) -> None:
    """What each of two ranks does, for all systems at once: starting them is what takes time."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    found = {}
    for case in PLAIN:
        if not meet(case):
            engine = play(apart(case, weights=rank), case, rank, WORLD)  # rank 1 starts elsewhere, and is put right
            found[str(case)] = {"all": toys.everything(engine), "logs": engine.tick()}
    torch.save(found, f"{folder}/found-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.start_processes(work, (str(folder),), nprocs=WORLD, start_method="forkserver")
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(WORLD)]


@every_plain_case
def test_two_ranks_equal_one_process(case: Case, ranks: list[dict[str, Any]]) -> None:
    if reason := meet(case):
        pytest.skip(reason)
    for rank in ranks:
        assert_same_training(case, rank[str(case)]["all"], rank[str(case)]["logs"])


@every_plain_case
def test_a_step_in_bfloat16_is_finite_and_leaves_float32_weights(case: Case) -> None:
    engine = Engine(case.build(), precision=torch.bfloat16)
    before = {name: weight.detach().clone() for name, weight in engine.game.named_parameters()}
    engine.step(case.batch(0))
    logs = engine.tick()
    assert all(math.isfinite(value) for value in logs.values())
    for name, weight in engine.game.named_parameters():
        assert weight.dtype == torch.float32
        assert weight.isfinite().all(), name
    assert toys.differing(before, dict(engine.game.named_parameters()))


# ---- compiled --------------------------------------------------------------------------------------------------------
def traced(test: Any) -> Any:
    """Lets pass the compiler's own warnings: it looks at .grad of what it traces, and still knows torch.jit."""
    for warning in ("The .grad attribute of a Tensor that is not a leaf:UserWarning", ".*:DeprecationWarning"):
        test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
    return test


def assert_compiled_alike(case: Case, tolerance: float) -> None:
    torch._dynamo.reset()
    eager, compiled = started(case.build(), step=79), Engine(case.build(), seed=5, total_steps=100, compile=True)
    compiled.clock = eager.clock
    for engine in (eager, compiled):
        engine.step(case.batch(0))
    assert toys.differing(dict(eager.game.named_parameters()), dict(compiled.game.named_parameters()), tolerance) == []


WIDELY = [  # the one with a double backward is quick enough for every day
    pytest.param(case, id=str(case), marks=() if ("loss", "wgan-gp") in case.changed else pytest.mark.slow)
    for case in PLAIN + CHANGED
]


@traced
@pytest.mark.parametrize("case", WIDELY)
def test_traced_systems_play_alike(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for autograd, not for speed."""
    compiler = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda net, **how: compiler(net, backend="aot_eager", **how))
    assert_compiled_alike(case, 1e-5)


@traced
@pytest.mark.slow
@every_system
def test_compiled_systems_play_alike(name: str) -> None:
    assert_compiled_alike(next(case for case in PLAIN if case.name == name), 1e-3)
