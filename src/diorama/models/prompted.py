"""Masks of what somebody points at, by a network that has seen a photo once, such as SAM.

Asked for one thing it gives one mask. A single point may mean a whole, a part or a part of that: of
it the network gives three masks, and the one that it is surest of is taken. Logits are a quarter of
what the network sees, and are made as large as the photo before they are cut.

Kirillov et al., "Segment anything" (2023); Ravi et al., "SAM 2: Segment anything in images and
videos" (2024).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from PIL import Image

from diorama.arrays import Array, Mask, Rgb, RgbBytes
from diorama.errors import InputError
from diorama.masks import Prompt, PromptedMask

AT_ONCE = 64
"""Prompts that a network is asked together: with logits of 50 MB."""

Predict = Callable[[Sequence[Prompt], bool], tuple[Array, Array]]
"""Prompts of one kind, in pixels of the photo, and whether three masks are wanted of each or one,
to logits (n, m, h, w) and the intersection over union expected of each (n, m), float32."""


@dataclass(frozen=True)
class Seen:
    """A photo that a network has seen: a `diorama.masks.SeenPhoto`."""

    height: int
    """Of the photo, in pixels."""
    width: int
    span: tuple[float, float]
    """Rows and columns of the logits that show the photo, from their upper left corner."""
    predict: Predict = field(repr=False)
    """The network's answers."""

    def masks(self, prompts: Sequence[Prompt]) -> list[PromptedMask]:
        """Return the mask of each prompt, in their order.

        A box may reach beyond the photo.

        Raises:
            InputError: if a point lies outside the photo, or a box does wholly.
        """
        prompts = [self._within(prompt) for prompt in prompts]
        kinds: dict[tuple[int, int, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            kind = len(prompt.inside), len(prompt.outside), prompt.box is None
            kinds.setdefault(kind, []).append(index)
        found: dict[int, PromptedMask] = {}
        for kind, alike in kinds.items():
            for first in range(0, len(alike), AT_ONCE):
                asked = alike[first : first + AT_ONCE]
                # Two points, or a box, are about one thing.
                several = kind == (1, 0, True)
                logits, scores = self.ask([prompts[i] for i in asked], several=several)
                best = scores.argmax(1)
                for row, index in enumerate(asked):
                    mask = self.enlarged(logits[row, best[row]])
                    found[index] = PromptedMask(mask, float(scores[row, best[row]]))
        return [found[index] for index in range(len(prompts))]

    def ask(self, prompts: Sequence[Prompt], *, several: bool) -> tuple[Array, Array]:
        """Logits (n, m, h, w) of what shows the photo, and what is expected of each (n, m)."""
        logits, scores = self.predict(prompts, several)
        rows, columns = map(math.ceil, self.span)
        return logits[:, :, :rows, :columns], scores

    def enlarged(self, logits: Array) -> Mask:
        """(H, W) bool: where logits, made as large as the photo, are above 0."""
        # By factors and not by size, for the photo may end within a pixel of the logits.
        across, down = self.width / self.span[1], self.height / self.span[0]
        shown = np.ascontiguousarray(logits, np.float32)
        whole = cv2.resize(shown, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
        return whole[: self.height, : self.width] > 0

    def _within(self, prompt: Prompt) -> Prompt:
        """The prompt with its box cut off at the photo's edge."""
        size = f"the photo of {self.width}x{self.height} px"
        for x, y in (*prompt.inside, *prompt.outside):
            if not (0 <= x <= self.width and 0 <= y <= self.height):
                raise InputError(f"the point ({x:g}, {y:g}) lies outside {size}")
        if prompt.box is None:
            return prompt
        left, top, right, bottom = prompt.box
        if left >= self.width or top >= self.height or right <= 0 or bottom <= 0:
            raise InputError(
                f"the box ({left:g}, {top:g}, {right:g}, {bottom:g}) lies outside {size}"
            )
        box = max(left, 0.0), max(top, 0.0), min(right, self.width), min(bottom, self.height)
        return replace(prompt, box=box)


def resized(rgb: Rgb, height: int, width: int) -> RgbBytes:
    """(height, width, 3) uint8: linear, smoothed where it is made smaller, as SAM was trained."""
    photo = Image.fromarray(cv2.convertScaleAbs(rgb, alpha=255))
    return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR))


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of a photo whose long side is made `side` pixels."""
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def coordinates(
    prompts: Sequence[Prompt], scales: tuple[float, float]
) -> tuple[Array, Array, Array | None]:
    """Prompts of one kind as SAM takes them.

    It counts pixels, whose centres it adds half a pixel to find; ours lie at +0.5 already.

    Args:
        prompts: with as many points each.
        scales: of y and of x, from the photo to what the network sees.

    Returns:
        Points (n, k, 2) float32, x before y; their labels (n, k) int64, 1 on the thing and 0 beside
        it; boxes (n, 4) float32 if there are any.
    """
    scale = np.array(scales[::-1], np.float32)
    points = np.array([[*p.inside, *p.outside] for p in prompts], np.float32)
    points = points.reshape(len(prompts), -1, 2) * scale - np.float32(0.5)
    labels = [[1] * len(p.inside) + [0] * len(p.outside) for p in prompts]
    boxes = None
    if prompts[0].box is not None:
        corners = np.array([p.box for p in prompts], np.float32).reshape(-1, 2, 2)
        boxes = (corners * scale - np.float32(0.5)).reshape(-1, 4)
    return points, np.array(labels, np.int64).reshape(points.shape[:2]), boxes
