"""The published layouts by system."""

from __future__ import annotations

from ganvas.errors import UsageError
from ganvas.exchange.dcgan import Examples
from ganvas.exchange.isola import ForCycleGAN, ForPix2Pix
from ganvas.exchange.layout import Layout
from ganvas.exchange.wang import ForPix2PixHD
from ganvas.game import Game

LAYOUTS: dict[str, Layout] = {kept.system: kept for kept in (ForCycleGAN(), ForPix2Pix(), ForPix2PixHD(), Examples())}


def not_exportable(system: str, game: Game) -> str | None:
    """Why a game of a system that has a published format cannot be written in it, one sentence; None where it can, or
    where there is no such format. The game needs no weights."""
    try:
        if system in LAYOUTS:
            LAYOUTS[system].check(game)
    except UsageError as reason:
        return str(reason)
    return None


def layout(system: str) -> Layout:
    """The published layout of a system. Raises UsageError where there is none."""
    if system not in LAYOUTS:
        raise UsageError(
            f"ganvas cannot import or export {system}: only {', '.join(LAYOUTS)} have published checkpoints that it "
            "reads and writes."
        )
    return LAYOUTS[system]
