"""U2-Net trained on people (rembg's u2net_human_seg.onnx), run by ONNX Runtime.

Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection" (2020);
Apache-2.0, as is the project that exported it to ONNX and hosts the file (MIT).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from diorama.arrays import Alpha, check_rgb
from diorama.errors import InputError
from diorama.photo import Photo
from diorama.runtime import Device, device_of, kept, open_network

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIDE_PX = 320
"""What the network sees, whatever the photo's shape."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of its input's channels, after the photo's brightest value became 1."""


@dataclass(frozen=True)
class U2NetHuman:
    """A `diorama.portrait.MatteEstimator`."""

    weights: Path
    """The network's .onnx file."""
    device: Device = "auto"
    """Where the network runs."""

    def matte(self, photo: Photo) -> Alpha:
        """(H, W) float32 in 0..1: people.

        Raises:
            InputError: if the weights are missing, damaged or another network's.
        """
        check_rgb(photo.rgb)
        session = self._open()
        height, width = photo.rgb.shape[:2]
        seen = cv2.resize(photo.rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        seen = seen / max(float(seen.max()), 1e-6)
        seen = ((seen - np.array(MEAN)) / np.array(DEVIATION)).astype(np.float32)
        name = session.get_inputs()[0].name
        found = np.asarray(session.run(None, {name: seen.transpose(2, 0, 1)[None]})[0])
        if found.shape != (1, 1, SIDE_PX, SIDE_PX) or not np.isfinite(found).all():
            raise InputError(f"{self.weights} is damaged, or not U2-Net: pull it again")
        share = found[0, 0] - found.min()
        share /= max(float(share.max()), 1e-6)
        return cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        return f"{device_of(self._open())} fp32"

    def _open(self) -> "InferenceSession":
        if not self.weights.is_file():
            raise InputError(f"{self.weights} is not there: pass the file of U2-Net's weights")
        return _session(self.weights, self.weights.stat().st_mtime_ns, self.device)


@kept(1)
def _session(weights: Path, changed_ns: int, device: Device) -> "InferenceSession":
    del changed_ns
    session = open_network(weights, device)
    shapes = [i.shape[1:] for i in session.get_inputs()]
    if shapes != [[3, SIDE_PX, SIDE_PX]]:
        raise InputError(f"{weights} is not U2-Net: its inputs are {shapes}")
    return session
