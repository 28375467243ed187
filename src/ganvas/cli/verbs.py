"""Commands that use a trained run: its verbs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ganvas.cli.flags import Answer, Class, Count, Device, Out, RunFolder, Seed, default
from ganvas.cli.trained import load, positive, written
from ganvas.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ganvas.data import Dataset
    from ganvas.run import Run

SHEET_IMAGES = 64  # on a sheet, unless told otherwise; a folder or arrays get all there are
POINTS = 2500  # of a mixture
BATCH = 64
Input = Annotated[Positional[str], arg(metavar="INPUT")]


def sample(
    run: RunFolder,
    out: Out,
    count: Annotated[Count[int | None], default("64; 2,500 points of a mixture")] = None,
    seed: Seed = 0,
    class_: Annotated[Class, default("sample i is of class i, modulo how many there are")] = None,
    truncation: Annotated[float | None, arg(metavar="T"), default("the whole normal")] = None,
    device: Device = "auto",
) -> Answer:
    """Draw samples from a run: a grid, a folder of images, or arrays.

    Args:
        run: The run folder.
        out: A grid (.png, .jpg, .webp; with -n 1 the image itself), arrays (.npz) or, without a suffix, a folder of one
            file per sample.
        count: How many images.
        seed: Random seed; sample i depends on the seed and i alone.
        class_: Samples of this class only: its name or number.
        truncation: Draw z from the normal truncated to [-T, T].
        device: Device to work on.
    """
    from ganvas.inputs import class_number
    from ganvas.output import kind_of, save_arrays, save_images, saving

    opened, game = load(run, "sample", device)
    label = class_number(opened, class_)
    points = "vector" in opened.config.schema
    n = positive(count, POINTS if points else SHEET_IMAGES)
    if truncation is not None and not truncation > 0:
        raise UsageError(f"--truncation must be positive, not {truncation}.")

    def batches() -> Iterator[Tensor]:
        for first in range(0, n, BATCH):
            yield game.sample(min(BATCH, n - first), seed=seed, first=first, truncation=truncation, label=label).cpu()

    if not points:
        save_images(out, batches(), n)
    else:
        from ganvas.data import parse
        from ganvas.ops.plane import save_plane

        kind = kind_of(out, among=("sheet", "arrays"))
        vectors = game.sample(n, seed=seed, truncation=truncation, label=label).cpu().numpy()
        if kind == "arrays":
            save_arrays(out, vectors=vectors)
        else:
            spec = parse(opened.config.data)
            with saving(out):
                save_plane(vectors, out, mixture=spec.source if spec.kind == "mixture" else None)
    return written(opened, out, n=n, seed=seed)


def encode(
    run: RunFolder,
    input: Input,
    out: Out,
    count: Annotated[Count[int | None], default("all")] = None,
    device: Device = "auto",
) -> Answer:
    """Write the codes of images, the posterior means where there are posteriors, as arrays.

    Args:
        run: The run folder.
        input: An image, a folder or a data spec.
        out: An .npz: codes float32 [N, Z], names [N], and labels [N] where there are classes.
        count: How many images.
        device: Device to work on.
    """
    import numpy as np

    from ganvas.inputs import fitting, told
    from ganvas.output import kind_of, save_arrays

    kind_of(out, among=("arrays",))
    opened, game = load(run, "encode", device)
    dataset = fitting(opened, input, kept=False)
    n = _at_most(count, dataset)
    told(opened, dataset).tell()
    found: dict[str, list[Any]] = {"codes": [], "labels": []}
    for batch in _batches(dataset, n, game):
        found["codes"].append(game.encode(batch["image"], label=batch.get("label")).cpu().numpy())
        found["labels"] += [batch["label"].cpu().numpy()] if "label" in batch else []
    arrays = {name: np.concatenate(values) for name, values in found.items() if values}
    save_arrays(out, names=np.array(dataset.names(np.arange(n))), **arrays)
    return written(opened, out, n=n, data=dataset.spec, split=dataset.split)


def reconstruct(
    run: RunFolder,
    input: Input,
    out: Out,
    count: Annotated[Count[int | None], default("all; 64 on a sheet")] = None,
    seed: Seed = 0,
    grid: Annotated[bool, FlagCreatePairsOff] = False,
    device: Device = "auto",
) -> Answer:
    """Encode images and decode them again: one image to one image, or to a grid of pairs, a folder, or arrays.

    Args:
        run: The run folder.
        input: An image, a folder or a data spec.
        out: The reconstruction (.png, .jpg, .webp); of several images a grid of pairs; arrays (.npz); or, without a
            suffix, a folder of files named as the originals.
        count: How many images.
        seed: Random seed of what the reconstruction draws besides the code (AVAE's xi).
        grid: Show the original beside its reconstruction, of one image too.
        device: Device to work on.
    """
    import numpy as np

    from ganvas.inputs import fitting, told
    from ganvas.output import kind_of, save_images

    kind = kind_of(out)
    if grid and kind != "sheet":
        raise UsageError(f"--grid draws one image: give --out a name such as grid.png, not {out}.")
    opened, game = load(run, "reconstruct", device)
    dataset = fitting(opened, input, kept=False)
    n = _at_most(count if count is not None or kind != "sheet" else SHEET_IMAGES, dataset)
    told(opened, dataset).tell()

    def batches() -> Iterator[Tensor]:
        for i, batch in enumerate(_batches(dataset, n, game)):
            yield game.reconstruct(batch["image"], seed=seed, first=i * BATCH, label=batch.get("label")).cpu()

    rows = np.arange(n)
    names = dataset.names(rows)
    beside = dataset.tensors(rows)["image"] if kind == "sheet" else None
    save_images(out, batches(), n, names=names, beside=beside, lone=not grid, more={"names": np.array(names)})
    return written(opened, out, n=n, data=dataset.spec, split=dataset.split)


def interpolate(
    run: RunFolder,
    out: Out,
    from_: Annotated[str | None, arg(name="from", metavar="IMAGE"), default("walk through samples")] = None,
    to: Annotated[str | None, arg(metavar="IMAGE"), default("walk through samples")] = None,
    seeds: Annotated[str | None, arg(metavar="S,S,..."), default("0,1,2")] = None,
    frames: int = 12,
    path: Literal["auto", "slerp", "lerp"] = "auto",
    class_: Annotated[Class, default("the first")] = None,
    device: Device = "auto",
) -> Answer:
    """Interpolate between codes: a grid with one row per pair of neighbors, or an endless GIF.

    Args:
        run: The run folder.
        out: A grid (.png) or a film (.gif).
        from_: The image to start from; with --to.
        to: The image to end at; with --from.
        seeds: The seeds of the samples to walk through, separated by commas.
        frames: Images from one code to the next, both ends included.
        path: slerp (along the great circle) or lerp (along the chord); auto: slerp where codes have a normal prior.
        class_: The class of every image, its name or number.
        device: Device to work on.
    """
    import torch

    from ganvas.exploration import film
    from ganvas.exploration import interpolate as walk
    from ganvas.inputs import class_number
    from ganvas.output import kind_of, save_film, save_images
    from ganvas.verbs import Draws

    kind = kind_of(out, among=("sheet", "film"))
    opened, game = load(run, "decode", device)
    label = class_number(opened, class_)
    _no_points(opened)
    if frames < 2:
        raise UsageError(f"--frames must be at least 2, not {frames}.")
    if (from_ is None) != (to is None):
        raise UsageError("--from and --to go together: give both, or neither.")
    if from_ is not None and to is not None:
        if seeds is not None:
            raise UsageError("Give --from and --to, or --seeds, not both.")
        codes = torch.stack([_code(opened, game, image, label) for image in (from_, to)])
    elif isinstance(game, Draws):
        codes = torch.cat([game.prior(1, seed=one) for one in _seeds("0,1,2" if seeds is None else seeds)])
    else:
        raise UsageError(f"{run} has no prior to draw codes from: give --from IMAGE --to IMAGE.")
    if path == "auto":
        path = "slerp" if isinstance(game, Draws) else "lerp"
    pictures = walk(game, codes, frames=frames, path=path, label=label).cpu()
    if kind == "film":
        save_film(out, film(pictures))
    else:
        save_images(out, [pictures.flatten(0, 1)], pictures.shape[0] * frames, columns=frames)
    return written(opened, out, path=path, stretches=len(pictures), frames=frames)


def traverse(
    run: RunFolder,
    out: Out,
    image: Annotated[str | None, arg(metavar="IMAGE"), default("a sample")] = None,
    seed: Seed = 0,
    dims: int = 10,
    class_: Annotated[Class, default("the first")] = None,
    device: Device = "auto",
) -> Answer:
    """Move one latent dimension at a time, from -3 to 3 (standard deviations of the prior, where there is one).

    Args:
        run: The run folder.
        out: A grid (.png), one row per dimension.
        image: The image to start from.
        seed: The seed of that sample.
        dims: How many dimensions, those that change the image most.
        class_: The class of every image, its name or number.
        device: Device to work on.
    """
    from ganvas.exploration import STEPS
    from ganvas.exploration import traverse as along
    from ganvas.inputs import class_number
    from ganvas.output import kind_of, save_images
    from ganvas.verbs import Draws

    kind_of(out, among=("sheet",))
    opened, game = load(run, "decode", device)
    label = class_number(opened, class_)
    _no_points(opened)
    positive(dims, dims, "dims")
    if image is not None:
        code = _code(opened, game, image, label)
    elif isinstance(game, Draws):
        code = game.prior(1, seed=seed)[0]
    else:
        raise UsageError(f"{run} has no prior to draw a code from: give --image FILE.")
    pictures, chosen = along(game, code, dims, label=label)
    save_images(out, [pictures.flatten(0, 1).cpu()], pictures.shape[0] * STEPS, columns=STEPS)
    shown = f"dimensions, from the top: {', '.join(map(str, chosen))}"
    return written(opened, out, shown, dims=chosen)


# ---- what they share -------------------------------------------------------------------------------------------------
def _at_most(count: int | None, dataset: Dataset) -> int:
    return min(positive(count, len(dataset)), len(dataset))


def _batches(dataset: Dataset, n: int, game: Any) -> Iterator[dict[str, Tensor]]:
    return dataset.chunks(BATCH, n, next(game.parameters()).device)


def _no_points(run: Run) -> None:
    if "vector" in run.config.schema:
        raise UsageError(f"{run.folder} makes points, not pictures: use sample.")


def _seeds(text: str) -> list[int]:
    """Two or more whole numbers, separated by commas."""
    numbers = text.replace(" ", "").split(",")
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        raise UsageError(f"--seeds takes two or more whole numbers such as 0,1,2, not {text!r}.")
    return [int(number) for number in numbers]


def _code(run: Run, game: Any, image: str, label: int | None) -> Tensor:
    """The code [Z] of one picture."""
    import torch

    from ganvas.inputs import fitting, told

    if "encode" not in run.config.verbs:
        raise UsageError(f"{run.folder} is a run of {run.config.system}, which encodes no image: use seeds.")
    dataset = fitting(run, image, labelled=False, kept=False)
    told(run, dataset).tell()
    batch = next(_batches(dataset, 1, game))
    classes = None if not run.config.leaves.get("conditional") else torch.tensor([label or 0]).to(batch["image"].device)
    code: Tensor = game.encode(batch["image"], label=classes)[0]
    return code
