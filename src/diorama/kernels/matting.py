"""Alpha and foreground colour of pixels in a narrow band."""

import numpy as np

from diorama.arrays import AnyArray, Array, Rgb, is_tensor
from diorama.runtime import run_bands

PIXELS_PER_TASK = 8192


def mix_alpha(
    rgb: Rgb,
    certain: Array,
    rows: Array,
    columns: Array,
    signed_distance: Array,
    *,
    reach: int,
    sigma: float,
    color_noise: float,
    stride: int = 1,
) -> tuple[Array, Array, Array]:
    """Solve ``I = alpha F + (1 - alpha) B`` for each listed pixel.

    F and B are Gaussian-weighted means of the certain pixels within `reach`. Where they differ by D
    and scatter by S (sum of both variances), colour counts ``c = D^2 / (D^2 + S + color_noise^2)``
    and a ramp over the edge the rest.

    Args:
        rgb: (H, W, 3) float32.
        certain: (H, W) uint8: 1 foreground, 2 background, 0 neither.
        rows: (n,) of the pixels to solve.
        columns: (n,) of the pixels to solve.
        signed_distance: (n,) float32 in pixels, positive inside the foreground.
        reach: half size of the window in pixels.
        sigma: of the Gaussian, in pixels.
        color_noise: in units of colour.
        stride: only every so many rows and columns of the window count.

    Returns:
        alpha (n,), c (n,), and F (n, 3), all float32.
    """
    from diorama.kernels._numba import matting

    n = len(rows)
    alpha, trust = np.empty(n, np.float32), np.empty(n, np.float32)
    color = np.empty((n, 3), np.float32)
    run_bands(
        matting.mix_alpha,
        n,
        rgb,
        certain,
        rows,
        columns,
        signed_distance,
        reach,
        stride,
        np.float32(1 / (2 * sigma * sigma)),
        np.float32(color_noise),
        alpha,
        trust,
        color,
        band_rows=PIXELS_PER_TASK,
    )
    return alpha, trust, color


def smooth_alpha(
    rgb: Rgb,
    order: Array,
    certain: Array,
    rows: Array,
    columns: Array,
    alpha: Array,
    trust: Array,
) -> Array:
    """Average alpha over 5x5 pixels of like colour, the more trusted counting more.

    Args:
        rgb: (H, W, 3) float32.
        order: (H, W) int32: 1 + the pixel's place in the list, 0 elsewhere.
        certain: (H, W) uint8: 1 foreground, 2 background, 0 neither.
        rows: (n,) of the listed pixels.
        columns: (n,) of the listed pixels.
        alpha: (n,) float32.
        trust: (n,) float32.

    Returns:
        (n,) float32.
    """
    from diorama.kernels._numba import matting

    out = np.empty_like(alpha)
    run_bands(
        matting.smooth_alpha,
        len(rows),
        rgb,
        order,
        certain,
        rows,
        columns,
        alpha,
        trust,
        out,
        band_rows=PIXELS_PER_TASK,
    )
    return out


def matte_band(
    rgb: AnyArray,
    certain: AnyArray,
    band: AnyArray,
    signed_distance: AnyArray,
    *,
    reach: int,
    sigma: float,
    color_noise: float,
) -> tuple[AnyArray, AnyArray]:
    """Mix and smooth a band's alpha: pictures in and out, so that a GPU need not list its pixels.

    Args:
        rgb: (H, W, 3) float32.
        certain: (H, W) uint8: 1 foreground, 2 background, 0 neither.
        band: (H, W) bool: the pixels to solve.
        signed_distance: (H, W) float32 in pixels, positive inside the foreground; read in the band.
        reach: as `mix_alpha` has it; so are `sigma` and `color_noise`.
        sigma: of the Gaussian, in pixels.
        color_noise: in units of colour.

    Returns:
        alpha (H, W), outside the band 1 where foreground is certain and 0 elsewhere; F (H, W, 3),
        to be read in the band only; both float32, and CUDA tensors if all arrays are.
    """
    if is_tensor(rgb):
        from diorama.kernels._triton import matting as twin

        settings = {"reach": reach, "sigma": sigma, "color_noise": color_noise}
        return twin.matte_band(rgb, certain, band, signed_distance, **settings)
    rows, columns = np.nonzero(band)
    order = np.zeros(band.shape, np.int32)
    order[rows, columns] = np.arange(len(rows), dtype=np.int32) + 1
    mixed, trust, color = mix_alpha(
        rgb,
        certain,
        rows,
        columns,
        signed_distance[rows, columns],
        reach=reach,
        sigma=sigma,
        color_noise=color_noise,
    )
    alpha, foreground = (certain == 1).astype(np.float32), np.zeros_like(rgb)
    alpha[rows, columns] = smooth_alpha(rgb, order, certain, rows, columns, mixed, trust)
    foreground[rows, columns] = color
    return alpha, foreground
