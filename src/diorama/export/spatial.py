"""A pair of pictures as a spatial photo, which headsets show with depth. Experimental.

A HEIC with two pictures, left and right, that belong to a stereo pair group, each with its camera:
"Creating spatial photos and videos with spatial metadata" (Apple's developer documentation) says
what is needed; ISO/IEC 23008-12 how it is stored:

ster    entity group: the left picture's item, then the right one's
cmin    intrinsics: focal length in picture widths, principal point in widths and heights; fixed
        point, whose shift stands in the flags
cmex    extrinsics: the right camera's place in micrometres; a left one without any is the origin

Headsets take the unit for the metre. In a scene that is not metric the near surfaces lie about one
unit away, and the default view box is as wide as eyes are apart, six hundredths of it: taken as
metres that is a life-sized look at something an arm's length away.
"""

import io
import math
import struct
from pathlib import Path

from diorama.camera import Camera
from diorama.extras import import_extra
from diorama.files import whole_file
from diorama.framing import render_picture
from diorama.heif import Box, full_box, meta_boxes, read_meta, with_meta_boxes, with_properties
from diorama.scene import Scene
from diorama.stereo import stereo_cameras

QUALITY = 90
"""Of x265, 0..100."""

SIZE = 4096
"""Longest side in pixels: what decoders in phones and headsets take as one picture."""

_COLORS = {
    "color_primaries": 1,  # BT.709, which are sRGB's
    "transfer_characteristics": 13,  # sRGB
    "matrix_coefficients": 6,  # BT.601
    "full_range_flag": 1,
}
_PICTURES = (b"hvc1", b"grid")
_POSITION_X = 1  # flag of `cmex`


def write_spatial(scene: Scene, path: Path) -> None:
    """Write what two eyes see of `scene`, as far apart as its view box is wide.

    Raises:
        InputError: if the view box has no width.
        MissingExtraError: if the extra is not installed.
        OutputError: if `path` cannot be written.
    """
    heif = import_extra("heic", "format 'spatial'")
    left, right = stereo_cameras(scene, size=SIZE)
    file = heif.HeifFile()
    for camera in (left, right):
        rgb = render_picture(scene, camera)
        image = file.add_frombytes("RGB", (camera.width, camera.height), rgb.tobytes())
        image.info["nclx_profile"] = _COLORS
    encoded = io.BytesIO()
    file.save(encoded, quality=QUALITY, **_COLORS)
    data = joined(encoded.getvalue(), left, right)
    with whole_file(path) as partial:
        partial.write_bytes(data)


def joined(file: bytes, left: Camera, right: Camera) -> bytes:
    """A HEIF file of two pictures, left and right, as a stereo pair by these cameras."""
    meta = read_meta(file)
    derived = {t for r in meta.references if r.kind == b"dimg" for t in r.targets}
    pictures = [n for n, item in meta.items.items() if item.kind in _PICTURES and n not in derived]
    first, second = pictures
    baseline_m = float(right.camera_to_world[0, 3] - left.camera_to_world[0, 3])
    boxes = with_properties(
        meta_boxes(file),
        {first: [_cmin(left), _cmex(0.0)], second: [_cmin(right), _cmex(baseline_m)]},
    )
    members = struct.pack(">IIII", max(meta.items) + 1, 2, first, second)
    group = Box(b"grpl", full_box(b"ster", members).encoded())
    return with_meta_boxes(file, [*boxes, group])


def _cmin(camera: Camera) -> Box:
    K = camera.K
    values = (K[0, 0] / camera.width, K[0, 2] / camera.width, K[1, 2] / camera.height)
    # As many binary places as leave the largest of them within 32 bits, sign included.
    shift = min(30, 30 - math.frexp(max(abs(v) for v in values))[1])
    fixed = (round(float(v) * 2**shift) for v in values)
    return full_box(b"cmin", struct.pack(">iii", *fixed), flags=shift << 8)


def _cmex(x_m: float) -> Box:
    if not x_m:
        return full_box(b"cmex", b"")
    return full_box(b"cmex", struct.pack(">i", round(x_m * 1e6)), flags=_POSITION_X)
