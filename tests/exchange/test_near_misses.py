"""Files that are nearly a published net: one key too many, too few or of another shape is named, and that one alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ganvas
from ganvas.errors import DataError, GanvasError
from ganvas.exchange import import_run
from ganvas.exchange.looks import LOOKS, UNKNOWN, looks, unprefixed
from layouts import Shapes, coarse, encoder, filled, local, norm, patches, resnet, scales, unet

State = dict[str, Tensor]


def net_g(nz: int, ngf: int, stages: int) -> Shapes:
    widths = [nz, *(ngf * 2**i for i in reversed(range(stages))), 3]
    found: Shapes = {}
    for i in range(stages + 1):
        found[f"main.{3 * i}.weight"] = (widths[i], widths[i + 1], 4, 4)
        found |= norm(f"main.{3 * i + 1}", widths[i + 1], "batch") if i < stages else {}
    return found


def net_d(ndf: int, stages: int) -> Shapes:
    widths = [3, *(ndf * 2**i for i in range(stages)), 1]
    found: Shapes = {}
    for i in range(stages + 1):
        found[f"main.{3 * i - 1 if i else 0}.weight"] = (widths[i + 1], widths[i], 4, 4)
        found |= norm(f"main.{3 * i}", widths[i + 1], "batch") if 0 < i < stages else {}
    return found


# What a system's part is, and what must be said besides for it to come in.
NETS: dict[str, tuple[str, str, Shapes, dict[str, Any]]] = {
    "resnet": ("cyclegan", "G_A", resnet(3, 3, 4, 6), {"critic_width": 4}),
    "resnet, batch": ("cyclegan", "G_B", resnet(3, 3, 4, 9, "batch", True), {"critic_width": 4}),
    "patches": ("cyclegan", "D_A", patches(3, 4), {"width": 4}),
    "patches, batch": ("pix2pix", "D", patches(6, 4, 3, "batch"), {"width": 4}),
    "unet": ("pix2pix", "G", unet(3, 3, 4, 6), {"critic_width": 4}),
    "unet, instance": ("pix2pix", "G", unet(3, 3, 4, 7, "instance"), {"critic_width": 4}),
    "coarse": ("pix2pixhd", "G", coarse(6, 3, 4, 3, 4), {"labels": 5, "critic_width": 4}),
    "local": ("pix2pixhd", "G", local(6, 3, 4, 2, 3, 2), {"labels": 5, "critic_width": 4}),
    "encoder": ("pix2pixhd", "E", encoder(3, 4, 2), {"labels": 5, "width": 4, "critic_width": 4, "blocks": 1}),
    "scales": ("pix2pixhd", "D", scales(9, 4, 3, 2), {"labels": 5, "width": 4, "blocks": 1}),
    "netG": ("dcgan", "G", net_g(5, 2, 4), {}),
    "netG, 128": ("dcgan", "G", net_g(5, 2, 5), {}),
    "netD": ("dcgan", "D", net_d(2, 4), {"latent": 4}),
    "netD, 32": ("dcgan", "D", net_d(2, 3), {"latent": 4}),
}


def bring(name: str, state: Any, folder: Path) -> Any:
    system, part, _, how = NETS[name]
    torch.save(state, folder / "file.pth")
    return import_run(system, {part: folder / "file.pth"}, out=folder / "run", **how)


def refusal(name: str, state: Any, folder: Path) -> str:
    with pytest.raises(GanvasError) as refused:
        bring(name, state, folder)
    assert not (folder / "run").exists()
    assert "\n" not in str(refused.value)
    assert "--labels" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("key", "shape"), [("style.weight", (3,)), ("model.99.weight", (4, 4, 3, 3))])
def test_one_key_too_many_is_named_alone(name: str, key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    state = filled(NETS[name][2]) | {key: torch.ones(shape)}
    said = refusal(name, state, tmp_path)
    assert re.search(rf": it has {re.escape(key)}, which the net does not have\.$", said), said


def spread(keys: list[str]) -> Iterator[str]:
    """Some keys from all over: the first and the last two, and some between."""
    yield from dict.fromkeys([*keys[:2], *keys[5 :: max(7, len(keys) // 5)], *keys[-2:]])


CASES = [(name, key) for name, (_, _, shapes, _) in NETS.items() for key in spread(list(shapes))]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_one_missing_key_is_named_alone(name: str, key: str, tmp_path: Path) -> None:
    state = filled(NETS[name][2])
    del state[key]
    if key.endswith("num_batches_tracked"):
        bring(name, state, tmp_path)
        return
    said = refusal(name, state, tmp_path)
    assert re.search(rf"it has no {re.escape(key)}(\.$|, but )", said), said
    assert "which the net does not have" not in said


@pytest.mark.parametrize(("name", "key"), [case for case in CASES if len(NETS[case[0]][2][case[1]]) == 4])
def test_one_convolution_of_another_size_is_named_alone(name: str, key: str, tmp_path: Path) -> None:
    state = filled(NETS[name][2])
    state[key] = torch.zeros(*state[key].shape[:2], 9, 9)
    said = refusal(name, state, tmp_path)
    assert re.search(rf": {re.escape(key)} is \w+x9x9, not \w+\.$", said), said


# ---- wrappers --------------------------------------------------------------------------------------------------------
def prefixed(head: str) -> Callable[[State], Any]:
    return lambda net: {f"{head}.{key}": value for key, value in net.items()}


WRAPS: dict[str, Callable[[State], Any]] = {
    "DataParallel": prefixed("module"),
    "a wrapper's module": prefixed("model"),
    "two wrappers": prefixed("model.generator"),
    "a wrapper of DataParallel": prefixed("net.module"),
    "Lightning": lambda net: {"state_dict": prefixed("model")(net), "epoch": 3},
    "params_ema": lambda net: {"params": {"x": torch.zeros(1)}, "params_ema": net},
    "half": lambda net: {key: value.half() if value.is_floating_point() else value for key, value in net.items()},
    "bfloat16": lambda net: {key: v.bfloat16() if v.is_floating_point() else v for key, v in net.items()},
    "double": lambda net: {key: value.double() if value.is_floating_point() else value for key, value in net.items()},
    "no counters": lambda net: {key: value for key, value in net.items() if not key.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [(name, wrap) for i, name in enumerate(NETS) for j, wrap in enumerate(WRAPS) if (i + j) % 4 == 0],
)
def test_whatever_wraps_it_it_is_the_same_net(name: str, wrap: str, tmp_path: Path) -> None:
    run = bring(name, WRAPS[wrap](filled(NETS[name][2])), tmp_path)
    (tmp_path / "plain").mkdir()
    plain = bring(name, filled(NETS[name][2]), tmp_path / "plain")
    assert run.config.leaves == plain.config.leaves
    part = NETS[name][1]
    for (key, value), other in zip(run.latest().average().items(), plain.latest().average().values(), strict=True):
        if wrap == "no counters" and key.endswith("num_batches_tracked"):
            continue
        rough = wrap in ("half", "bfloat16") and key.startswith(part)
        torch.testing.assert_close(value, other, rtol=1e-2 if rough else 0, atol=1e-2 if rough else 0)


@pytest.mark.parametrize(
    ("heads", "parts"),
    [
        (("G_A", "G_B", "D_A", "D_B"), ("G_A", "G_B")),
        (("netG_A", "netG_B", "netD_A", "netD_B"), ("G_A", "G_B")),
        (("generator_A", "generator_B", "discriminator_A", "discriminator_B"), ("G_A", "G_B")),
    ],
)
def test_of_several_nets_in_one_state_dict_each_part_takes_its_own(
    heads: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    nets = [filled(resnet(3, 3, 4, 2), 1), filled(resnet(3, 3, 4, 2), 2), filled(patches(3, 4), 3),
            filled(patches(3, 4), 4)]  # fmt: skip
    torch.save({f"{head}.{key}": value for head, net in zip(heads, nets, strict=True) for key, value in net.items()},
               tmp_path / "all.ckpt")  # fmt: skip
    run = import_run("cyclegan", dict.fromkeys((*parts, "D_A", "D_B"), tmp_path / "all.ckpt"), out=tmp_path / "run")
    game = ganvas.load(run.folder)
    for part, net in zip(("G_A", "G_B", "D_A", "D_B"), nets, strict=True):
        state = getattr(game, part).state_dict()
        assert all(torch.equal(state[key], value) for key, value in net.items())


def test_a_key_too_many_beside_a_wrapper_is_named(tmp_path: Path) -> None:
    state = prefixed("model")(filled(resnet(3, 3, 4, 6))) | {"style.weight": torch.zeros(3)}
    assert "it has style.weight, which the net does not have." in refusal("resnet", state, tmp_path)


def test_nothing_is_taken_off_the_keys_of_a_net_as_it_is() -> None:
    for name, (_, _, shapes, _) in NETS.items():
        assert list(unprefixed(shapes, ("G", "netG", "model"))) == list(shapes), name
        assert looks(shapes)[1] == len(shapes), name
    assert looks({}) == looks(["features.0.weight"]) == (UNKNOWN, 0)
    assert {looks(shapes)[0] for _, _, shapes, _ in NETS.values()} <= {look.what for look in LOOKS}
    strange = {f"{i}.x": 0 for i in range(3000)}
    assert unprefixed(strange, ("G",)) == strange


# ---- other nets than asked for ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "given", "sentence"),
    [
        ("resnet", "patches", "looks like a PatchGAN discriminator of CycleGAN and pix2pix, which is a discriminator"),
        ("patches", "resnet", "looks like a ResNet generator of CycleGAN, which is a generator"),
        ("netG", "netD", "looks like the netD of the DCGAN example, which is a discriminator"),
        ("netD", "netG", "looks like the netG of the DCGAN example, which is a generator"),
        ("encoder", "local", "looks like the local enhancer of pix2pixHD, which is a generator"),
        ("scales", "encoder", "looks like the encoder of pix2pixHD, which is an encoder"),
        ("unet", "netG", "looks like the netG of the DCGAN example; its keys are main.0.weight"),
    ],
)
def test_files_that_were_mixed_up_are_told_apart(asked: str, given: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in refusal(asked, filled(NETS[given][2]), tmp_path)


@pytest.mark.parametrize("name", ["netD", "patches", "scales"])
@pytest.mark.parametrize("old", [True, False])
def test_spectral_norm_is_called_that(name: str, old: bool, tmp_path: Path) -> None:
    state: State = {}
    for key, value in filled(NETS[name][2]).items():
        if value.ndim == 4:
            stem = key.removesuffix(".weight")
            state[f"{stem}.weight_orig" if old else f"{stem}.parametrizations.weight.original"] = value
            state[f"{stem}.weight_u" if old else f"{stem}.parametrizations.weight.0._u"] = torch.ones(value.shape[0])
        else:
            state[key] = value
    assert "it has spectral norm (" in refusal(name, state, tmp_path)


def test_a_state_dict_without_tensors_of_nets_is_refused(tmp_path: Path) -> None:
    torch.save({"optimizer": {"state": {}}}, tmp_path / "file.pth")
    with pytest.raises(DataError, match="holds no state dict"):
        import_run("cyclegan", {"G_A": tmp_path / "file.pth"}, out=tmp_path / "run")
