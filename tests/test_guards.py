"""What the verbs of a game refuse, in every system there is: one sentence that names what is taken."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ganvas
from cases import PLAIN, ROWS, SYSTEMS, Case, every_plain_case
from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.schema import Schema
from ganvas.verbs import VERBS


def rows(case: Case, game: Any) -> dict[str, Any]:
    """A good value for each argument that a verb of this game may have."""
    batch = case.batch(0)
    field = next(name for name in ("vector", "labels", "image", "A") if name in batch)
    x = batch[field][:2]
    latent: Any = getattr(game, "latent", None) or getattr(game.config, "latent", 1)
    codes = torch.randn(2, latent, generator=torch.Generator().manual_seed(0))
    label = (torch.arange(2) % len(case.schema.classes)) if case.schema.classes else None
    return {"n": 2, "x": x, "z": codes, "label": label, "instances": batch.get("instances", torch.zeros(0))[:2]}


def calls(case: Case, game: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every verb of a game with arguments that it takes."""
    good = rows(case, game)
    for verb in SYSTEMS[case.name].verbs:
        names = inspect.signature(getattr(game, verb)).parameters
        given = {name: good[name] for name in ("n", "x", "z") if name in names}
        if verb in ("encode", "reconstruct", "elbo") and getattr(game, "classes", 0) > 0:
            given["label"] = good["label"]
        if "instances" in names and len(good["instances"]):
            given["instances"] = good["instances"]
        yield verb, given


def wrong(name: str, value: Any) -> Iterator[Any]:
    """Values that stand for what people pass instead of a good one."""
    if name == "n":
        yield from (-1, 0, 2.0, "2", None, True)
        return
    assert isinstance(value, Tensor)
    yield from (value.numpy(), value.tolist(), None, "x.png", value[0], value[None], value.double(), value[:0].double())
    if not value.is_floating_point():
        yield from (value.long() - 1, value.float())
        return
    yield value.to(torch.uint8)
    yield torch.full_like(value, float("nan"))
    yield torch.cat([value[..., :-1], torch.full_like(value[..., -1:], float("inf"))], -1)
    yield value[:0]
    if value.ndim == 4:
        yield from ((value + 1) * 127.5, value.permute(0, 2, 3, 1), value[:, :1].expand(-1, 2, -1, -1))
    if value.ndim == 2:
        yield torch.cat([value, value], 1)


@every_plain_case
def test_verbs_take_what_they_say_and_refuse_everything_else(case: Case) -> None:
    game: Any = case.build().eval()
    for verb, given in calls(case, game):
        getattr(game, verb)(**given)
        for name in given.keys() & {"n", "x", "z"}:
            for value in wrong(name, given[name]):
                with pytest.raises(UsageError, match=f"^{verb}: {name} |of a direction|translates"):
                    getattr(game, verb)(**given | {name: value})
        names = inspect.signature(getattr(game, verb)).parameters
        for name, values in {
            "seed": (-1, 1.0, "3", None, 2**63, True, torch.tensor(1)),
            "first": (-1, 0.5, "3"),
            "truncation": (0, -1.0, float("nan"), float("inf"), "1"),
        }.items():
            for value in values if name in names else ():
                with pytest.raises(UsageError, match=f"^{verb}: {name} must be a "):
                    getattr(game, verb)(**given | {name: value})


@pytest.mark.parametrize("case", [case for case in PLAIN if case.data == "labelled"], ids=str)
@pytest.mark.parametrize("conditional", [False, True])
def test_classes_are_checked(case: Case, conditional: bool) -> None:
    """Of all rows, by number, and of each row."""
    if "conditional" in SYSTEMS[case.name].config.__dataclass_fields__:
        case = Case(case.name, case.data, (("conditional", conditional),))
    game: Any = case.build().eval()
    good = rows(case, game)
    for verb in SYSTEMS[case.name].verbs:
        names = inspect.signature(getattr(game, verb)).parameters
        if "label" not in names:
            continue
        given = {name: good[name] for name in ("n", "x", "z") if name in names}
        bad: tuple[Any, ...] = ("cat", 1.0, True, 3, -1, torch.tensor([0, 1]))
        if "x" in names:
            bad = ("cat", 1, [0, 1])
            if game.classes if hasattr(game, "classes") else False:
                bad += (torch.tensor([0, 3]), torch.tensor([0, -1]), torch.tensor([0.0, 1.0]), torch.tensor([0, 1, 2]))
                bad += (torch.tensor([[0, 1]]), None)
        for value in bad:
            with pytest.raises(UsageError, match=r"label|class"):
                getattr(game, verb)(**given, label=value)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if "encode" in SYSTEMS[name].verbs])
def test_the_sentence_names_what_is_taken_and_what_was_given(name: str) -> None:
    game: Any = Case(name, "labelled").build().eval()
    wanted = r"^encode: x must be float32 \[N, C, H, W\] in \[-1, 1\] of 3x32x32 \(channels, height, width\), "
    x = torch.zeros(2, 3, 32, 32)
    for value, says in {
        "uint8": (x.to(torch.uint8), r"not uint8 \[2, 3, 32, 32\]\."),
        "levels": (x + 255, r"and has numbers from 255 to 255; x / 127.5 - 1 brings 0..255 there\."),
        "size": (torch.zeros(2, 3, 64, 64), r"not float32 \[2, 3, 64, 64\]\."),
        "no batch": (x[0], r"not float32 \[3, 32, 32\]; x\[None\] adds the dimension N\."),
        "channels last": (x.permute(0, 2, 3, 1), r"not float32 \[2, 32, 32, 3\]; x.permute\(0, 3, 1, 2\) puts the"),
    }.values():
        with pytest.raises(UsageError, match=wanted + says):
            game.encode(value)
    with pytest.raises(UsageError, match=r"not of type ndarray; torch.from_numpy\(x\) makes a tensor of an array\."):
        game.encode(np.zeros((2, 3, 32, 32), np.float32))
    with pytest.raises(UsageError, match=r"x is on meta and the game is on cpu: move it with x.to\('cpu'\)"):
        game.encode(x.to("meta"))
    game.encode(x + 1 + 1e-3)  # rounding is forgiven


def test_verbs_that_call_each_other_are_checked_once_and_after_a_refusal_again() -> None:
    game: Any = Case("vae", "grey").build().eval()
    for _ in range(2):
        with pytest.raises(UsageError, match=r"^sample: n must be"):
            game.sample(-1)
    with pytest.raises(UsageError, match=r"^reconstruct: x must be"):
        game.reconstruct(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_verb_that_a_system_has_not_is_an_error_of_ours(name: str) -> None:
    game = next(case for case in PLAIN if case.name == name).build()
    for verb in VERBS.keys() - set(SYSTEMS[name].verbs):
        assert not hasattr(game, verb)
        with pytest.raises(UsageError, match=f"{type(game).__name__} cannot {verb}: it has {SYSTEMS[name].verbs[0]}"):
            getattr(game, verb)
    with pytest.raises(AttributeError, match="no attribute 'dance'"):
        game.dance  # noqa: B018


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_verb_is_described(name: str) -> None:
    for verb in SYSTEMS[name].verbs:
        assert inspect.getdoc(getattr(SYSTEMS[name].game, verb)), verb


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_game_prints_as_one_line_and_its_nets_as_torch_prints_them(name: str) -> None:
    case = next(case for case in PLAIN if case.name == name)
    game = case.build()
    game.data = "digits"
    assert repr(game).startswith(f"{type(game).__name__}(digits ")
    assert repr(game).endswith(" parameters)")
    assert "\n" not in repr(game)
    assert "\n" in repr(next(net for net in game.children() if list(net.children())))


def test_a_system_of_somebody_else_is_checked_too() -> None:
    class Theirs(Game):
        schema = Schema({"image": (1, 8, 8)})

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1)

        def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
            return x.flatten(1)

    game: Any = Theirs()
    assert game.encode(torch.zeros(ROWS, 1, 8, 8)).shape == (ROWS, 64)
    with pytest.raises(UsageError, match=r"^encode: x must be float32 "):
        game.encode(torch.zeros(ROWS, 8, 8))
    assert repr(game) == "Theirs(image 1x8x8, 2 parameters)"


def test_walks_are_checked() -> None:
    game: Any = Case("vae", "grey").build().eval()
    z = game.prior(3)
    for codes, more in ((z[0], {}), (z[:1], {}), (z.numpy(), {}), (z, {"frames": 1}), (z, {"path": "straight"}),
                        (z[:, :2], {}), (z, {"seed": -1}), (z, {"label": 3})):  # fmt: skip
        with pytest.raises(UsageError):
            ganvas.interpolate(game, codes, **more)
    for code, dims in ((z, 2), (z[0], 0), (z[0, :2], 1)):
        with pytest.raises(UsageError):
            ganvas.traverse(game, code, dims)
    with pytest.raises(UsageError, match="cannot decode"):
        ganvas.interpolate(Case("cyclegan", "pairs").build(), z)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ganvas.open_data(None), "A data spec must be text, such as digits or a folder's path, not NoneType"),
        (lambda: ganvas.open_data(np.zeros(3)), "A data spec must be text, .* not ndarray"),
        (lambda: ganvas.load(None), "A run must be a path, not NoneType"),
        (lambda: ganvas.evaluate(3), "A run must be a path, not int"),
        (lambda: ganvas.runs(3), "The folder of runs must be a path, not int"),
        (lambda: ganvas.write_report(3), "A run must be a path, not int"),
        (lambda: ganvas.fetch(3), "fetch takes a name, not int"),
        (lambda: ganvas.compare("digits", None), "compare takes runs, paths or data specs, not NoneType"),
        (lambda: ganvas.compare("digits", "digits", metrics=3), r"metrics must be a list of names, such as \['mse'\]"),
        (lambda: ganvas.compare("digits", "digits", metrics="mse,psrn"), "There is no metric 'psrn'"),
    ],
)
def test_what_python_is_given_of_another_type_is_one_sentence(call: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()


def test_data_may_be_named_by_a_path(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8))
    assert len(ganvas.open_data(tmp_path / "a.npz")) == 4
