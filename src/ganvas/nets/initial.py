"""How weights start."""

from __future__ import annotations

from torch import nn


def initialise(net: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0; batch norm's gamma N(1, 0.02), beta 0.

    So DCGAN (1511.06434, section 4), and the nets of the AVAE table after it.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
            nn.init.zeros_(module.bias)
