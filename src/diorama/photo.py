"""What comes in: a photo, upright, in sRGB, with its field of view."""

from dataclasses import dataclass, field

from diorama.arrays import Rgb, RgbBytes
from diorama.camera import Camera


@dataclass(frozen=True)
class Photo:
    """A photo at two sizes: one to compute on, one for textures."""

    rgb: Rgb
    """(H, W, 3) float32 at processing size; what every stage works on."""
    texture: RgbBytes = field(repr=False)
    """(H2, W2, 3) uint8 with the same aspect, at least as large: what textures are cut from."""
    camera: Camera
    """At processing size, at the origin."""
    name: str = "photo"
    """The file's stem, or "photo"."""
