"""Where two sides of a blurred depth edge meet: a watershed of the photo between their cores."""

from diorama.arrays import Array, Disparity, Labels, Rgb
from diorama.runtime import run_bands

STRIP_ROWS = 128
"""Rows flooded as one; the strips do not depend on the number of threads."""


def flood_sides(
    labels: Labels,
    disparity: Disparity,
    rgb: Rgb,
    zone: Array,
    low: Array,
    high: Array,
    *,
    core: float,
    sharpness: int,
    wall: float,
    floor: float,
) -> Labels:
    """Part masks where a blurred disparity climbs, and give each side what belongs to it.

    With ``t = (d - low) / (high - low)`` a pixel of the zone is sure to lie low where t < core and
    high where t > 1 - core. Between these the sides grow, each core taking its own mask along, and
    meet on the ridge of

        (floor + wall [pixel on a mask edge] + gradient of rgb in 8-bit levels) (4 t (1 - t))^p

    by Meyer's flooding (1991): the photo decides where between the cores the edge is, the masks'
    edges count as the photo's, and without either it is where the climb is half done.

    Args:
        labels: (H, W), 0 or more.
        disparity: (H, W), blurred.
        rgb: (H, W, 3) float32 in 0..1.
        zone: (h, w) uint8 of any size, stretched over the picture: 1 where masks may be parted.
        low: (h, w) float32, the disparity of the lower side, interpolated between its pixels.
        high: (h, w) float32, of the upper side.
        core: in 0..0.5.
        sharpness: p.
        wall: what a mask edge adds, in levels.
        floor: what every pixel has, in levels.

    Returns:
        (H, W) int32: 3 label outside the zone, 3 label + 1 on a low side, 3 label + 2 on a high
        one, with the label of the core the pixel was reached from.
    """
    from diorama.kernels._numba import watershed as kernels

    out = labels * 3
    run_bands(
        kernels.flood_sides,
        labels.shape[0],
        labels,
        disparity,
        rgb,
        zone,
        low,
        high,
        float(core),
        sharpness,
        float(wall),
        float(floor),
        out,
        band_rows=STRIP_ROWS,
    )
    return out
