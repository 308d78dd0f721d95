"""Layers: masks grouped by depth, back to front, with soft edges."""

from dataclasses import dataclass

from diorama.arrays import Disparity, Mask, Rgba


@dataclass(frozen=True)
class Layer:
    """One sheet of the scene, as large as the photo at processing size."""

    rgba: Rgba
    """(H, W, 4) float32, straight; colour is bled to where alpha is 0."""
    disparity: Disparity
    """(H, W) float32; meaningful where alpha > 0, continued smoothly elsewhere."""
    hole: Mask
    """(H, W) bool: what the photo does not show and was filled."""
    mask_ids: tuple[int, ...]
    """The masks it is made of."""
