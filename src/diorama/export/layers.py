"""A scene's layers as pictures, for compositing programs.

::

    layers.json             camera, view box, and for every layer its files and disparity range
    layer_00.png            RGBA, straight, as large as the photo at processing size; 00 is farthest
    layer_00_disparity.png  16-bit grey: disparity / disparity_scale
"""

import json
import os
from dataclasses import asdict

import numpy as np

from diorama.files import whole_folder
from diorama.layers import Layer
from diorama.png import encode_png, quantise_disparity, to_bytes
from diorama.runtime import run_tasks
from diorama.scene import Scene


def write_layers(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the folder `path` with a PNG pair a layer and `layers.json`.

    Raises:
        OutputError: if `path` cannot be written.
    """

    def encode(layer: Layer) -> tuple[bytes, bytes, float]:
        steps, scale = quantise_disparity(layer.disparity)
        return encode_png(to_bytes(layer.rgba)), encode_png(steps), scale

    encoded = run_tasks([lambda layer=layer: encode(layer) for layer in scene.layers])
    entries = []
    with whole_folder(path) as folder:
        for index, (layer, (rgba, disparity, scale)) in enumerate(
            zip(scene.layers, encoded, strict=True)
        ):
            stem = f"layer_{index:02d}"
            (folder / f"{stem}.png").write_bytes(rgba)
            (folder / f"{stem}_disparity.png").write_bytes(disparity)
            seen = layer.disparity[layer.rgba[..., 3] > 0]
            entries.append(
                {
                    "rgba": f"{stem}.png",
                    "disparity": f"{stem}_disparity.png",
                    "disparity_scale": scale,
                    "disparity_median": float(np.median(seen)) if seen.size else None,
                    "mask_ids": [int(i) for i in layer.mask_ids],
                }
            )
        document = {
            "width": scene.camera.width,
            "height": scene.camera.height,
            "K": scene.camera.K.tolist(),
            "view_box": asdict(scene.view_box),
            "metric": scene.metric,
            "layers": entries,
        }
        (folder / "layers.json").write_text(json.dumps(document, indent=1) + "\n")
