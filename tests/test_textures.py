"""Textures: the photo's own pixels where it shows the layer, at full resolution."""

import numpy as np

from diorama.camera import Camera
from diorama.layers import Layer
from diorama.photo import Photo, photo_from_texture
from diorama.textures import layer_textures


def photo(scale: int) -> Photo:
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (48 * scale, 64 * scale, 3), np.uint8)
    return photo_from_texture(texture, Camera.from_fov(64, 48))


def layer(of: Photo, *, left: int = 0, right: int = 64) -> Layer:
    rgba = np.zeros((48, 64, 4), np.float32)
    rgba[..., :3] = of.rgb
    rgba[:, left:right, 3] = 1
    return Layer(rgba, np.full((48, 64), 0.5, np.float32), np.zeros((48, 64), bool), (0,))


def test_a_layer_that_shows_the_photo_wears_the_photo() -> None:
    for scale in (1, 3):
        of = photo(scale)
        (texture,) = layer_textures(of, [layer(of)])
        assert texture.box == (0, 0, 64, 48)
        inner = np.s_[3 * scale : -3 * scale, 3 * scale : -3 * scale]
        np.testing.assert_array_equal(texture.rgba[inner][..., :3], of.texture[inner])
        assert (texture.rgba[..., 3] == 255).all()


def test_a_texture_is_cut_to_its_layer() -> None:
    of = photo(2)
    (texture,) = layer_textures(of, [layer(of, left=20, right=30)])
    assert texture.box == (18, 0, 32, 48)
    assert texture.rgba.shape == (96, 28, 4)
    # Layer columns 20..29 are texture columns 4..23 of the cut that begins at column 18.
    assert (texture.rgba[:, 5:23, 3] == 255).all()
    assert (texture.rgba[:, [0, 1, 2, 25, 26, 27], 3] == 0).all()


def test_what_was_filled_keeps_its_fill() -> None:
    of = photo(3)
    filled = layer(of)
    filled.hole[10:30, 10:30] = True
    filled.rgba[10:30, 10:30, :3] = 0.25
    (texture,) = layer_textures(of, [filled])
    np.testing.assert_array_equal(texture.rgba[36:84, 36:84, :3], 64)


def test_max_size_shrinks() -> None:
    of = photo(3)
    (texture,) = layer_textures(of, [layer(of)], max_size=96)
    assert texture.rgba.shape[:2] == (72, 96)


def test_a_layer_nothing_is_seen_of_is_one_transparent_pixel() -> None:
    of = photo(1)
    (texture,) = layer_textures(of, [layer(of, left=0, right=0)])
    assert texture.rgba.shape == (1, 1, 4)
    assert texture.rgba[0, 0, 3] == 0
