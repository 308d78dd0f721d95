"""How far an estimate of a photo may be trusted, told by the estimate of its mirror image.

Confidence falls where the two disagree by e, in mean deviations of disparity,

``confidence = 1 / (1 + (e / TYPICAL_ERROR)^2)``
"""

import numpy as np

from diorama.arrays import Confidence, Disparity

TYPICAL_ERROR = 1.0
"""Disagreement, in mean deviations of disparity, at which confidence is one half."""


def agreement(ahead: Disparity, mirrored: Disparity) -> Confidence:
    """(h, w) float32 in 0..1: the module's equation.

    Args:
        ahead: (h, w) what was seen in the photo.
        mirrored: (h, w) what was seen in its mirror image, mirrored back.
    """
    unit = max(float(np.abs(ahead - ahead.mean()).mean()), 1e-6)
    return 1 / (1 + np.square((ahead - mirrored) / np.float32(2 * unit * TYPICAL_ERROR)))
