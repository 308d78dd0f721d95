"""Pictures as JPEG, marked as sRGB; the same picture gives the same bytes."""

import io

from PIL import Image

from diorama.arrays import RgbBytes

QUALITY = 95
"""Of pictures that are looked at in depth, where blocks would float before the scene."""

_EXIF_IFD = 0x8769


def encode_jpeg(rgb: RgbBytes, *, quality: int = QUALITY, subsampling: str = "4:4:4") -> bytes:
    """JPEG bytes of (H, W, 3) uint8 sRGB."""
    height, width = rgb.shape[:2]
    exif = Image.Exif()
    # What Exif demands of every file: 72 pixels an inch, and samples beside each other.
    exif.update({0x011A: 72.0, 0x011B: 72.0, 0x0128: 2, 0x0213: 2})
    exif.get_ifd(_EXIF_IFD).update(
        {
            0x9000: b"0230",  # version
            0x9101: bytes((1, 2, 3, 0)),  # Y, Cb, Cr
            0xA000: b"0100",
            0xA001: 1,  # sRGB
            0xA002: width,
            0xA003: height,
        }
    )
    file = io.BytesIO()
    picture = Image.fromarray(rgb)
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling, exif=exif)
    return file.getvalue()
