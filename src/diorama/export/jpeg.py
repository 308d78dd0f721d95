"""Pictures as JPEG, marked as sRGB; the same picture gives the same bytes."""

import io

from PIL import Image

from diorama.arrays import RgbBytes

QUALITY = 95
"""Of pictures that are looked at in depth, where blocks would float before the scene."""

_EXIF_IFD, _COLOR_SPACE, _SRGB = 0x8769, 0xA001, 1


def encode_jpeg(rgb: RgbBytes, *, quality: int = QUALITY, subsampling: str = "4:4:4") -> bytes:
    """JPEG bytes of (H, W, 3) uint8 sRGB."""
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_COLOR_SPACE] = _SRGB
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=subsampling, exif=exif)
    return file.getvalue()
