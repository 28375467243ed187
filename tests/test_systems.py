"""Every system there is: what the house promises of all of them, at the tiny preset, in each of its settings."""

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
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Game, Turn, minimise
from ganvas.schema import Schema
from ganvas.verbs import VERBS, verbs_of

F64 = torch.float64
ROWS, WORLD = 8, 2
SCHEMAS = {
    "grey": Schema({"image": (1, 32, 32)}),
    "labelled": Schema({"image": (3, 32, 32), "label": ()}, ("cat", "dog", "newt")),
    "vectors": Schema({"vector": (2,)}),
}
SYSTEMS = games.systems()
every_system = pytest.mark.parametrize("name", SYSTEMS)


@dataclasses.dataclass(frozen=True)
class Case:
    """A system on some data, with at most one setting that differs from its tiny preset."""

    name: str
    data: str
    changed: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, self.data, *(f"{leaf}={value}" for leaf, value in self.changed)])

    @property
    def schema(self) -> Schema:
        return SCHEMAS[self.data]

    def build(self, dtype: torch.dtype = torch.float32, weights: int = 0) -> Game:
        """The game with fresh weights; ``weights`` seeds them."""
        torch.manual_seed(weights)
        config, _ = SYSTEMS[self.name].preset("tiny")
        return (
            SYSTEMS[self.name].build({**dataclasses.asdict(config), **dict(self.changed)}, self.schema).to(dtype=dtype)
        )

    def batch(self, step: int, dtype: torch.dtype = torch.float32, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """A rank's rows of the batch of a step."""
        generator = torch.Generator().manual_seed(1000 + step)
        whole = {
            field: torch.randint(len(self.schema.classes), (ROWS,), generator=generator)
            if field == "label"
            else (torch.rand(ROWS, *shape, generator=generator, dtype=F64) * 2 - 1).to(dtype)
            for field, shape in self.schema.fields.items()
        }
        return {field: values.chunk(world)[rank] for field, values in whole.items()}


def alternatives(system: games.System) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Every other choice of every setting that is a choice, one at a time."""
    tiny, _ = system.preset("tiny")
    for leaf, kind in get_type_hints(system.config).items():
        choices = get_args(kind) if get_origin(kind) is Literal else (False, True) if kind is bool else ()
        yield from (((leaf, choice),) for choice in choices if choice != getattr(tiny, leaf))


def accepted(cases: Iterator[Case]) -> Iterator[Case]:
    """Those that the system takes: it refuses data that it has no use for, and settings that make no sense."""
    for case in cases:
        try:
            case.build()
        except UsageError:
            continue
        yield case


PLAIN = list(accepted(Case(name, data) for name, data in itertools.product(SYSTEMS, SCHEMAS)))
CHANGED = list(
    accepted(
        Case(name, data, changed)
        for name, system in SYSTEMS.items()
        for changed, data in itertools.product(alternatives(system), ("labelled", "vectors"))
    )
)
every_plain_case = pytest.mark.parametrize("case", PLAIN, ids=str)
every_case = pytest.mark.parametrize("case", PLAIN + CHANGED, ids=str)


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
    """An engine in float64 in whose game rows do not meet."""
    game = case.build(F64, weights)
    for module in game.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = Still
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
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
@every_system
def test_every_system_finds_its_data_here(name: str) -> None:
    assert any(case.name == name for case in PLAIN), f"no schema of this file suits {name}: add one"


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
    """Tensors without values: whatever branches on one or reads one raises. The engine's part is played too."""
    with toys.fake_tensors():
        engine = started(case.build(), shares=2, step=79)
        played = engine.step(case.batch(0))
        engine.evaluate(case.batch(99), index=0)
    assert {name for turn in played for name in turn} == engine.game.players().keys()


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
    engine = Engine(case.build(), seed=5)
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
    mp.spawn(work, (str(folder),), nprocs=WORLD)
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


# ---- verbs -----------------------------------------------------------------------------------------------------------
def able(*verbs: str) -> Any:
    """The cases whose systems have these verbs."""
    cases = [case for case in PLAIN + CHANGED if set(verbs) <= set(SYSTEMS[case.name].verbs)]
    return pytest.mark.parametrize("case", cases, ids=str)


def awake(case: Case) -> Game:
    """A game in float64 and eval mode whose weights are large enough for its outputs to differ."""
    game = case.build(F64).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in game.parameters():
            weight.normal_(0, 2 / math.sqrt(weight[0].numel()), generator=generator)
    return game


def labels(case: Case, n: int) -> Tensor | None:
    return torch.arange(n) % len(case.schema.classes) if case.schema.classes else None


def differ(rows: Tensor) -> bool:
    """Whether most pairs of rows differ. (Small nets of ReLUs may map a few codes to the same point.)"""
    return bool((torch.pdist(rows.double().flatten(1)) > 1e-3).double().mean() > 0.5)


def assert_in_range(case: Case, rows: Tensor, n: int) -> None:
    field, shape = next(iter(case.schema.fields.items()))
    assert rows.shape == (n, *shape)
    assert rows.dtype == F64  # as the weights are
    assert rows.isfinite().all()
    assert not rows.requires_grad
    if field == "image":
        assert rows.abs().max() <= 1


@every_system
def test_verbs_are_those_of_the_class_with_the_signatures_of_their_protocols(name: str) -> None:
    system = SYSTEMS[name]
    case = next(case for case in PLAIN if case.name == name)
    assert system.verbs == verbs_of(case.build()) == tuple(verb for verb in VERBS if hasattr(system.game, verb))
    assert system.verbs
    for verb in system.verbs:
        theirs = inspect.signature(getattr(system.game, verb))
        assert theirs == inspect.signature(getattr(VERBS[verb], verb)), verb


@able("sample")
def test_a_sample_depends_on_its_seed_and_number_alone(case: Case) -> None:
    game: Any = awake(case)
    samples = game.sample(64, seed=3)
    assert_in_range(case, samples, 64)
    for size in (1, 7):
        parts = torch.cat([game.sample(size, seed=3, first=first) for first in range(0, 14, size)])
        torch.testing.assert_close(parts, samples[:14], rtol=0, atol=1e-10)
    others = game.sample(14, seed=4)
    assert differ(samples)
    assert differ(torch.cat([samples[:14], others]))
    torch.manual_seed(123)
    torch.testing.assert_close(game.sample(2, seed=3), samples[:2], rtol=0, atol=1e-10)


@able("prior", "decode")
def test_codes_of_the_prior_decode_alike_in_any_company(case: Case) -> None:
    game: Any = awake(case)
    z = game.prior(9, seed=2)
    x = game.decode(z, seed=2)
    assert_in_range(case, x, 9)
    torch.testing.assert_close(game.prior(4, seed=2, first=5), z[5:])
    torch.testing.assert_close(game.decode(z[5:], seed=2, first=5), x[5:], rtol=0, atol=1e-10)
    torch.testing.assert_close(game.sample(9, seed=2), x, rtol=0, atol=1e-10)


@able("prior", "sample")
def test_truncation_draws_codes_towards_the_middle(case: Case) -> None:
    game: Any = awake(case)
    free, cut = game.prior(50, seed=1), game.prior(50, seed=1, truncation=0.5)
    assert free.abs().max() > 0.5 >= cut.abs().max()
    assert ((free > 0) == (cut > 0)).all()
    torch.testing.assert_close(game.sample(5, seed=1, truncation=0.5), game.decode(cut[:5], seed=1), rtol=0, atol=1e-10)
    assert differ(torch.cat([game.sample(1, seed=1, truncation=0.5), game.sample(1, seed=1)]))


@able("encode")
def test_codes_and_reconstructions_do_not_depend_on_their_neighbours(case: Case) -> None:
    game: Any = awake(case)
    x, label = case.batch(0, F64)["image"], labels(case, ROWS)
    some = None if label is None else label[3:5]
    z = game.encode(x, label=label)
    assert z.ndim == 2
    assert len(z) == ROWS
    assert not z.requires_grad
    assert differ(z)
    torch.testing.assert_close(game.encode(x[3:5], label=some), z[3:5], rtol=0, atol=1e-10)
    if "reconstruct" in SYSTEMS[case.name].verbs:
        y = game.reconstruct(x, seed=6, label=label)
        assert_in_range(case, y, ROWS)
        torch.testing.assert_close(game.reconstruct(x[3:5], seed=6, first=3, label=some), y[3:5], rtol=0, atol=1e-10)
    if "decode" in SYSTEMS[case.name].verbs:
        assert_in_range(case, game.decode(z, seed=6), ROWS)


@able("decode")
@pytest.mark.parametrize("label", [-1, 3, 1_000])
def test_classes_that_there_are_not_are_refused(case: Case, label: int) -> None:
    game: Any = awake(case)
    verbs = SYSTEMS[case.name].verbs
    z = game.prior(2) if "prior" in verbs else game.encode(case.batch(0, F64)["image"], label=labels(case, ROWS))
    with pytest.raises(UsageError, match="class"):
        game.decode(z, label=label)
    if "sample" in verbs:
        with pytest.raises(UsageError, match="class"):
            game.sample(2, label=label)


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
