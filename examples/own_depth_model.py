"""Your own depth model, chosen by name like any other.

    python examples/own_depth_model.py photo.jpg out/own.html

A depth model is any class with `estimate`, returning a `DepthResult`. This one is made for flash
photos: light falls off with the square of the distance, so disparity goes as the root of light.
"""

import sys

import cv2
import numpy as np

from diorama import DepthResult, ModelEntry, Photo, SceneConfig, photo_to_scene, register


class FlashDepth:
    """What the flash lights more is nearer."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Disparity up to scale, (H, W) float32."""
        light = photo.rgb.mean(axis=2) ** 2.2  # sRGB to linear light
        smooth = cv2.GaussianBlur(light, (0, 0), photo.camera.width / 50)  # evens out reflectance
        return DepthResult(np.sqrt(smooth), kind="relative")


register(
    ModelEntry(
        name="flash",
        task="depth",
        summary="Depth from the fall-off of a flash.",
        target=f"{__name__}:FlashDepth",
        licence="Apache-2.0",
    )
)

if __name__ == "__main__":
    scene = photo_to_scene(sys.argv[1], config=SceneConfig(depth="flash"))
    scene.export(sys.argv[2])
    print(f"{len(scene.layers)} layers from {scene.provenance['models']['depth']} depth")
