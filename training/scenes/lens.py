"""What a camera makes of the light: depth of field, motion, exposure, noise, sharpening, JPEG."""

import math

import cv2
import numpy as np

from diorama.arrays import Array
from training.scenes.raster import Drawn


def develop(drawn: Drawn, random: np.random.Generator) -> Array:
    """A photo (H, W, 3) uint8 of what was drawn."""
    light = np.maximum(drawn.rgb, 0)
    if random.random() < 0.25:
        light = _out_of_focus(light, drawn.disparity, random)
    if random.random() < 0.06:
        light = _moved(light, random)
    light = light * random.uniform(0.9, 1.1, 3).astype(np.float32)  # white balance
    bright = float(np.percentile(light.mean(-1), random.uniform(55, 90)))
    light = light * np.float32(random.uniform(0.25, 0.6) / max(bright, 1e-3))
    if random.random() < 0.3:
        light = light * _vignette(light.shape[:2], random.uniform(0.1, 0.5))[..., None]
    shoulder = random.uniform(0.0, 0.6)
    light = (
        light
        * (1 + shoulder * light)
        / (1 + (1 + shoulder) * light)
        * np.float32(1.0 + random.uniform(0.3, 0.9))
    )
    noise = 10 ** random.uniform(-2.9, -1.3)
    light = light + random.standard_normal(light.shape, np.float32) * np.sqrt(
        np.maximum(light, 0.02)
    ) * np.float32(noise)
    encoded = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    if random.random() < 0.12:
        encoded = np.repeat(encoded.mean(-1, keepdims=True), 3, -1)
    elif random.random() < 0.5:
        grey = encoded.mean(-1, keepdims=True)
        encoded = grey + (encoded - grey) * np.float32(random.uniform(0.5, 1.4))
    if random.random() < 0.5:
        soft = cv2.GaussianBlur(encoded, (0, 0), random.uniform(0.5, 1.2))
        encoded = soft if random.random() < 0.5 else encoded + 0.6 * (encoded - soft)
    photo = np.rint(np.clip(encoded, 0, 1) * 255).astype(np.uint8)
    if random.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(35, 96))]
        photo = cv2.imdecode(cv2.imencode(".jpg", photo, quality)[1], cv2.IMREAD_COLOR)
        assert photo is not None
    return photo


def _out_of_focus(light: Array, disparity: Array, random: np.random.Generator) -> Array:
    """Blur by distance from a focal plane, in levels; nearer ones spread over what is behind."""
    low, high = np.percentile(disparity, [5, 98])
    focus = random.uniform(low, high) if random.random() < 0.4 else high * 0.9
    largest = random.uniform(0.002, 0.012) * max(light.shape)
    radius = largest * np.abs(disparity - focus) / max(high - low, 1e-6)
    out = light.copy()
    levels = np.linspace(0, largest, 5)[1:]
    for lower, sigma in zip(np.concatenate([[0.3], levels[:-1]]), levels, strict=True):
        behind = ((radius > lower) & (disparity < focus)).astype(np.float32)
        front = ((radius > lower) & (disparity >= focus)).astype(np.float32)
        for part, spreads in ((behind, False), (front, True)):
            if part.any():
                share = cv2.GaussianBlur(part, (0, 0), sigma)
                blurred = cv2.GaussianBlur(light * part[..., None], (0, 0), sigma)
                blurred /= np.maximum(share, 1e-4)[..., None]
                mix = np.clip(share * (1.6 if spreads else 1.0), 0, 1) if spreads else part
                out += (blurred - out) * mix[..., None]
    return out


def _moved(light: Array, random: np.random.Generator) -> Array:
    """Camera shake along a short line."""
    length, angle = random.uniform(2, 9), random.uniform(0, math.pi)
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    t = np.linspace(-length / 2, length / 2, 4 * side)
    x, y = np.rint(t * math.cos(angle)).astype(int), np.rint(t * math.sin(angle)).astype(int)
    kernel[np.clip(y + side // 2, 0, side - 1), np.clip(x + side // 2, 0, side - 1)] = 1
    return cv2.filter2D(light, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _vignette(shape: tuple[int, int], strength: float) -> Array:
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    return (1 - strength * away).astype(np.float32)
