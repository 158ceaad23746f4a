"""The colours of parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The first seven follow Okabe and Ito, "Color Universal Design" (2008). Each of the others is the colour with the
# largest OKLab distance from all before it and from grey, for normal sight, deuteranopes and protanopes.
_PALETTE = (
    *("#3D73C5", "#F2A32B", "#12A57F", "#D9573A", "#8ECDF0", "#C476B6", "#EBDB52", "#772255"),
    *("#555500", "#224488", "#55EEAA", "#7799FF", "#995577", "#88BB77", "#6644AA", "#558800"),
    *("#00BBDD", "#AA9900", "#55EEEE", "#774444", "#EE6688", "#9977DD", "#778855", "#995533"),
)
UNLABELED_COLOR = "#B8BCC2"  # grey


def part_colors(count: int) -> list[str]:  # "#RRGGBB" each
    """One colour per part. After the end of the palette its colours repeat, mixed with white or black."""
    colors = []
    for i in range(count):
        rounds, index = divmod(i, len(_PALETTE))
        toward, weight = (255, 0, 255)[rounds % 3], (0, 0.4, 0.55)[min(rounds, 2)]
        rgb = to_rgb([_PALETTE[index]])[0] * (1 - weight) + toward * weight
        colors.append("#" + "".join(f"{round(channel):02X}" for channel in rgb))
    return colors


def to_rgb(colors: list[str]) -> NDArray[np.uint8]:  # (n, 3)
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], np.uint8).reshape(-1, 3)


def to_linear(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB bytes to linear values in 0..1."""
    c = colors / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
