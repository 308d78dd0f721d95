"""Shapes, dtypes and units of every array that crosses a seam, written once.

Rows come before columns (``h w``), sizes are ``height, width``. Colour is sRGB-encoded in 0..1,
disparity is 1/z in 1/scene units (larger is nearer, 0 is infinitely far).
"""

import sys
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from diorama.errors import InputError

MAX_PIXELS = 300_000_000
"""What a picture's header may claim: above the largest phone sensors (200 megapixels)."""

Array = np.ndarray

AnyArray = Any
"""A NumPy array or a torch tensor; `Any`, so that naming it imports no torch."""

Rgb = Float32[Array, "h w 3"]
Rgba = Float32[Array, "h w 4"]
Disparity = Float32[Array, "h w"]
Alpha = Float32[Array, "h w"]
Confidence = Float32[Array, "h w"]
Normals = Float32[Array, "h w 3"]
Luma = Float32[Array, "h w"]
Labels = Int32[Array, "h w"]
Mask = Bool[Array, "h w"]
RgbBytes = UInt8[Array, "H W 3"]
RgbaBytes = UInt8[Array, "H W 4"]
AlphaBytes = UInt8[Array, "H W"]

Matrix3 = Float64[Array, "3 3"]
Matrix4 = Float64[Array, "4 4"]
Corners = Float64[Array, "8 3"]

Points = Float32[Array, "n 3"]
Uvs = Float32[Array, "n 2"]
Triangles = Int32[Array, "m 3"]
Scales = Float32[Array, "n 3"]
Quats = Float32[Array, "n 4"]
Colors = Float32[Array, "n 3"]
Opacities = Float32[Array, " n"]
Ids = Int32[Array, " n"]
PlaneDisparities = Float32[Array, " p"]
PlaneTextures = Float32[Array, "p h w 4"]
Tiles = UInt8[AnyArray, "n side side 4"]
TileIndex = Int32[AnyArray, "p rows columns"]


def is_tensor(array: object) -> bool:
    """Whether this is a torch tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def check_array(
    name: str, array: object, *, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> None:
    """Raise `InputError` unless `array` has this dtype and shape (None: any length)."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} must be a NumPy array, got {type(array).__name__}")
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise InputError(
            f"{name} must be {wanted} {np.dtype(dtype).name}, got {array.shape} {array.dtype}"
        )


def check_rgb(rgb: Rgb, name: str = "rgb") -> None:
    """Raise `InputError` unless `rgb` is (H, W, 3) float32."""
    check_array(name, rgb, dtype=np.float32, shape=(None, None, 3))


def check_disparity(disparity: Disparity, like: Array | None = None) -> None:
    """Raise `InputError` unless `disparity` is (H, W) float32, finite, >= 0 and sized as `like`."""
    shape = (None, None) if like is None else like.shape[:2]
    check_array("disparity", disparity, dtype=np.float32, shape=shape)
    # Without a picture of answers; NaN is neither.
    if not (disparity.min(initial=0) >= 0 and disparity.max(initial=0) < np.inf):
        raise InputError("disparity must be finite and not negative; fill or clip it first")


def check_labels(labels: Labels, like: Array | None = None) -> None:
    """Raise `InputError` unless `labels` is (H, W) int32, sized as `like`."""
    shape = (None, None) if like is None else like.shape[:2]
    check_array("labels", labels, dtype=np.int32, shape=shape)


def refuse_bomb(where: object, width: int, height: int, *, most: int = MAX_PIXELS) -> None:
    """Raise `InputError` if a header claims more than `most` pixels; to be asked first of all."""
    if width * height > most:
        raise InputError(
            f"{where} claims {width}x{height} px, more than {most // 1_000_000} megapixels: "
            "scale it down first"
        )
