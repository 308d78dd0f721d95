"""Photo and depth as one OpenEXR file, for compositing programs.

::

    R, G, B     the photo at processing size, half floats of linear light (BT.709 primaries)
    A           only where the photo has alpha; colours are then multiplied by it
    Z           depth, float: distance along the optical axis; infinite where disparity is 0
    disparity   1/z, float

Units are metres if the header's `metric` is 1, else scene units. Its `K` holds the camera's
intrinsics in pixels, with pixel centres at +0.5.
"""

from pathlib import Path

import numpy as np

from diorama.errors import OutputError
from diorama.extras import import_extra
from diorama.files import whole_file
from diorama.scene import Scene


def write_depth_exr(scene: Scene, path: Path) -> None:
    """Write the photo of `scene` and its harmonised depth.

    Raises:
        MissingExtraError: if the extra is not installed.
        OutputError: if `path` cannot be written.
    """
    exr = import_extra("exr", "format 'depth-exr'")
    encoded = scene.photo.rgb
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    channels = {}
    if scene.photo.alpha is not None:
        channels["A"] = scene.photo.alpha.astype(np.float16)
        linear = linear * scene.photo.alpha[..., None]
    for index, name in enumerate("RGB"):
        channels[name] = np.ascontiguousarray(linear[..., index], np.float16)
    with np.errstate(divide="ignore"):
        channels["Z"] = np.float32(1) / scene.disparity
    channels["disparity"] = np.ascontiguousarray(scene.disparity)
    header = {
        "type": exr.scanlineimage,
        "compression": exr.ZIP_COMPRESSION,
        "K": scene.camera.K,
        "metric": int(scene.metric),
    }
    with whole_file(path) as partial:
        try:
            exr.File(header, channels).write(str(partial))
        except RuntimeError as error:  # the library's own, for a full disk as for anything else
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise OutputError(f"cannot write {path}: {reason}") from error
