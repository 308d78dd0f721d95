"""PLY: Gaussian splats in the field order of the 3DGS reference implementation.

Binary, little-endian, degree 0 (no ``f_rest``), one vertex a splat::

    x y z  nx ny nz  f_dc_0 f_dc_1 f_dc_2  opacity  scale_0 scale_1 scale_2  rot_0 .. rot_3

`f_dc` is ``(colour - 0.5) / C0`` with the spherical harmonic ``C0 = 1 / (2 sqrt(pi))``, `opacity` a
logit, `scale` a natural logarithm, `rot` a quaternion wxyz. Normals are not used by viewers and
stay 0. Axes are those of training output on COLMAP scenes: OpenCV's, y down and z forward, with the
photo's camera at the origin. Viewers whose y points up show such files upside down until told.
"""

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from diorama.files import whole_file
from diorama.splats import Splats, layer_splats

if TYPE_CHECKING:
    from diorama.scene import Scene

FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)

SH_C0 = 0.5 / math.sqrt(math.pi)
"""The constant spherical harmonic."""

OPACITY_MARGIN = 1 / 512
"""Opacities keep this far from 0 and 1, whose logits are infinite; less than a byte can tell."""


def write_ply(scene: "Scene", path: str | os.PathLike[str]) -> None:
    """Write a scene's layers as splats.

    Raises:
        OutputError: if `path` cannot be written.
    """
    splats = layer_splats(scene.layers, scene.camera, view_box=scene.view_box)
    write_splats(splats, path)


def write_splats(splats: Splats, path: str | os.PathLike[str]) -> None:
    """Write splats; the same splats give the same bytes.

    Raises:
        OutputError: if `path` cannot be written.
    """
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats.means)}"]
    lines += [f"property float {field}" for field in FIELDS]
    header = "\n".join([*lines, "end_header", ""]).encode("ascii")

    table = np.zeros((len(splats.means), len(FIELDS)), "<f4")
    table[:, 0:3] = splats.means
    table[:, 6:9] = (splats.colors - np.float32(0.5)) / np.float32(SH_C0)
    opacity = np.clip(splats.opacities, OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    table[:, 9] = np.log(opacity / (1 - opacity))
    table[:, 10:13] = np.log(splats.scales)
    table[:, 13:17] = splats.quats
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(header)
        file.write(table.data)
