"""The published layouts by system."""

from __future__ import annotations

from ganvas.errors import UsageError
from ganvas.exchange.dcgan import Examples
from ganvas.exchange.isola import ForCycleGAN, ForPix2Pix
from ganvas.exchange.layout import Layout
from ganvas.exchange.wang import ForPix2PixHD

LAYOUTS: dict[str, Layout] = {kept.system: kept for kept in (ForCycleGAN(), ForPix2Pix(), ForPix2PixHD(), Examples())}


def layout(system: str) -> Layout:
    """The published layout of a system. Raises UsageError where there is none."""
    if system not in LAYOUTS:
        raise UsageError(
            f"There are no published checkpoints of {system} that ganvas reads or writes: of "
            f"{', '.join(LAYOUTS)} there are."
        )
    return LAYOUTS[system]
