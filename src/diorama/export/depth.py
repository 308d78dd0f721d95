"""A scene's depth as files: for other programs, for eyes, and for NumPy.

::

    disparity.png   16-bit grey: disparity / largest disparity * 65535, at least 1, because 0 means
                    missing in every depth PNG there is
    color.png       8-bit, "turbo": red is near
    depth.npz       disparity, depth (z, infinite where disparity is 0), K, metric
"""

import os

import cv2
import numpy as np

from diorama.files import whole_folder
from diorama.png import encode_png
from diorama.scene import Scene

_HIGHEST = 65535


def write_depth(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the folder `path` with the harmonised depth of `scene`, at processing size.

    Raises:
        OutputError: if `path` cannot be written.
    """
    disparity = scene.disparity
    unit = disparity / max(float(disparity.max()), np.finfo(np.float32).tiny)
    grey = np.rint(unit * np.float32(_HIGHEST)).astype(np.uint16)
    # Near surfaces lie at 1 and beyond; above it colours would spread over a few near pixels.
    near = max(float(np.percentile(disparity, 99.5)), np.finfo(np.float32).tiny)
    color = cv2.applyColorMap(
        np.rint((disparity / near).clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_TURBO
    )
    with np.errstate(divide="ignore"):
        depth = np.float32(1) / disparity
    with whole_folder(path) as folder:
        (folder / "disparity.png").write_bytes(encode_png(np.maximum(grey, np.uint16(1))))
        (folder / "color.png").write_bytes(encode_png(cv2.cvtColor(color, cv2.COLOR_BGR2RGB)))
        np.savez_compressed(
            folder / "depth.npz",
            disparity=disparity,
            depth=depth,
            K=scene.camera.K,
            metric=np.bool_(scene.metric),
        )
