"""The photo as a JPEG that carries its depth, as Google's "Lens Blur" and "GDepth" readers take it.

developers.google.com/depthmap-metadata: XMP holds a grey picture in base64, the range it spans and
how. `RangeInverse` is linear in disparity, as we are: ``x = (1/near - d) / (1/near - 1/far)``. The
picture is a PNG of 8 bits, which every reader takes. The photo itself is what it was, at its
texture's size, and EXIF tells its focal length.
"""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from diorama.arrays import AlphaBytes, Disparity
from diorama.camera import DIAGONAL_35MM, Camera
from diorama.export.jpeg import QUALITY
from diorama.files import whole_file
from diorama.framing import photo_camera, render_picture
from diorama.phone_depth.google import GDEPTH
from diorama.scene import Scene
from diorama.xmp import NOTE, extended_name, packet_of, with_packets

NEAR_PERCENTILE = 99.9
"""A few pixels nearer than all others may not take the steps from the rest."""

FAR_DISPARITY = 1e-3
"""What is farther, as sky is, is written as this far: the format has no infinity."""

_STEPS = 255
_EXIF_IFD, _COLOR_SPACE, _FOCAL_35MM = 0x8769, 0xA001, 0xA405
_SRGB = 1


def write_gdepth(scene: Scene, path: Path) -> None:
    """Write the photo of `scene` with its harmonised depth.

    Raises:
        OutputError: if `path` cannot be written.
    """
    steps, near, far = quantised(scene.disparity)
    height, width = scene.photo.texture.shape[:2]
    png = io.BytesIO()
    Image.fromarray(steps).save(png, "PNG")
    extended = packet_of(
        {"GDepth": GDEPTH}, {"GDepth:Data": base64.b64encode(png.getvalue()).decode()}
    )
    main = packet_of(
        {"GDepth": GDEPTH, "xmpNote": NOTE},
        {
            "GDepth:Format": "RangeInverse",
            "GDepth:Near": repr(near),
            "GDepth:Far": repr(far),
            "GDepth:Units": "m" if scene.metric else "unknown",
            "GDepth:MeasureType": "OpticalAxis",
            "GDepth:Mime": "image/png",
            "GDepth:ImageWidth": str(width),
            "GDepth:ImageHeight": str(height),
            "GDepth:Software": "diorama",
            "xmpNote:HasExtendedXMP": extended_name(extended),
        },
    )
    picture = scene.photo.texture
    if scene.photo.alpha is not None:
        picture = render_picture(scene, photo_camera(scene))  # a JPEG has no alpha
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(
        jpeg, "JPEG", quality=QUALITY, subsampling="4:4:4", exif=_exif(scene.camera)
    )
    with whole_file(path) as partial:
        partial.write_bytes(with_packets(jpeg.getvalue(), main, extended))


def quantised(disparity: Disparity) -> tuple[AlphaBytes, float, float]:
    """Bytes that are 0 where it is near and 255 where far, and the depths these stand for.

    Both ends are pixels' own, so that what is flat stays exact.
    """
    high = float(np.percentile(disparity, NEAR_PERCENTILE, method="higher"))
    high = max(high, FAR_DISPARITY)
    low = min(max(float(disparity.min()), FAR_DISPARITY), high)
    share = (high - disparity) / max(high - low, np.finfo(np.float32).tiny)
    steps = np.rint(share.clip(0, 1) * _STEPS).astype(np.uint8)
    return steps, 1 / high, 1 / low


def _exif(camera: Camera) -> Image.Exif:
    """The 35 mm equivalent focal length, which EXIF counts in whole millimetres."""
    focal = camera.K[0, 0] / np.hypot(camera.width, camera.height) * DIAGONAL_35MM
    exif = Image.Exif()
    tags = exif.get_ifd(_EXIF_IFD)
    tags[_COLOR_SPACE] = _SRGB
    tags[_FOCAL_35MM] = min(max(1, round(focal)), 65535)
    return exif
