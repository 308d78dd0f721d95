"""MobileSAM, a small SAM, by ONNX Runtime: masks of what is pointed at, and of everything.

The files are those of Acly/MobileSAM on the hub of Hugging Face:

- ``mobile_sam_image_encoder.onnx``: ``input_image`` (h, w, 3) float32 in 0..255, its long side
  1024, to ``image_embeddings`` (1, 256, 64, 64). It fills the photo up to a square itself.
- ``sam_mask_decoder_multi.onnx``, as SAM's own exporter makes it: one prompt, as points with labels
  (1 on the thing, 0 beside it, 2 and 3 corners of a box, -1 none), to four masks, of which the
  first is for prompts that mean one thing.

Both run on one thread of the CPU each, prompts side by side, so that any number of threads gives
the same bytes.

Zhang et al., "Faster segment anything: towards lightweight SAM for mobile applications" (2023).
Weights of MobileSAM and SAM are under Apache-2.0, the export to ONNX under MIT; the user fetches
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Rgb, check_disparity, check_rgb
from diorama.errors import InputError
from diorama.masks import Masks, Prompt
from diorama.models.everything import EverythingConfig, partition_everything
from diorama.models.prompted import Seen, coordinates, fitted, resized
from diorama.models.region_merging import RegionMerging
from diorama.photo import Photo
from diorama.runtime import Device, device_of, kept, open_network, run_tasks

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ENCODER, DECODER = "mobile_sam_image_encoder.onnx", "sam_mask_decoder_multi.onnx"
"""Files of the folder."""

ENCODER_INPUTS = ["input_image"]
DECODER_INPUTS = [
    *("image_embeddings", "point_coords", "point_labels"),
    *("mask_input", "has_mask_input", "orig_im_size"),
]

SIDE_PX = 1024
"""The long side of what the network sees."""

NUM_MASKS, LOGITS = 4, 256
"""Of an answer; rows and columns of each, of the square that the network sees."""


@dataclass(frozen=True)
class MobileSam:
    """A `diorama.masks.Segmenter` and `diorama.masks.PromptedSegmenter`."""

    weights: Path
    """A folder with the two files."""
    device: Device = "auto"
    """Where the networks run."""
    config: EverythingConfig | None = None
    """What is kept of everything; None: what the authors of SAM keep."""

    def look(self, photo: Photo) -> Seen:
        """See a photo once, to answer prompts about it.

        Raises:
            InputError: a file is missing, damaged or another network's, or cannot run so.
        """
        check_rgb(photo.rgb)
        return self._open().look(photo.rgb)

    def segment(self, photo: Photo, disparity: Disparity, edges: Alpha | None = None) -> Masks:
        """Return a partition of the photo into everything, filled up by the embedded segmenter.

        Raises:
            InputError: as `look`, or if photo, disparity and edges differ in size.
        """
        check_disparity(disparity, like=photo.rgb)
        seen = self.look(photo)
        rest = RegionMerging().segment(photo, disparity, edges).labels
        return partition_everything(seen, rest, self.config or EverythingConfig())

    @property
    def runs_as(self) -> str:
        """Where and in what the networks run here."""
        return f"{device_of(self._open().decoder)} fp32"

    def _open(self) -> "_Model":
        stamps = []
        for name in (ENCODER, DECODER):
            path = self.weights / name
            if not path.is_file():
                raise InputError(f"{path} is not there: pass the folder of MobileSAM's ONNX files")
            stamps.append((path.stat().st_size, path.stat().st_mtime_ns))
        return _opened(self.weights, tuple(stamps), self.device)


@dataclass(frozen=True)
class _Model:
    """Two opened networks."""

    folder: Path
    encoder: "InferenceSession"
    decoder: "InferenceSession"

    def look(self, rgb: Rgb) -> Seen:
        height, width = rgb.shape[:2]
        size = fitted(height, width, SIDE_PX)
        pixels = resized(rgb, *size).astype(np.float32)
        embedding = np.asarray(self.encoder.run(["image_embeddings"], {"input_image": pixels})[0])
        if not np.isfinite(embedding.sum()):
            raise InputError(f"{self.folder / ENCODER} is damaged: what it sees is not a number")
        span = size[0] * LOGITS / SIDE_PX, size[1] * LOGITS / SIDE_PX
        scales = size[0] / height, size[1] / width
        return Seen(height, width, span, partial(self.predict, embedding, scales))

    def predict(
        self,
        embedding: Array,
        scales: tuple[float, float],
        prompts: Sequence[Prompt],
        several: bool,
    ) -> tuple[Array, Array]:
        """A `diorama.models.prompted.Predict`."""
        points, labels, boxes = coordinates(prompts, scales)
        # The corners of a box are points, too; without one, a point without a meaning stands there.
        ends = (
            np.zeros((len(prompts), 1, 2), np.float32) if boxes is None else boxes.reshape(-1, 2, 2)
        )
        marks = [-1] if boxes is None else [2, 3]
        points = np.concatenate([points, ends], 1)
        labels = np.concatenate([labels, np.tile(marks, (len(prompts), 1))], 1)
        tasks = [
            partial(self._answer, embedding, points[i], labels[i].astype(np.float32))
            for i in range(len(prompts))
        ]
        if device_of(self.decoder) == "cpu":
            answers = run_tasks(tasks)
        else:
            answers = [task() for task in tasks]
        logits, scores = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
        if logits.shape[1:] != (NUM_MASKS, LOGITS, LOGITS):
            raise InputError(
                f"{self.folder / DECODER} is another network: it gives {logits.shape[1:]} for a "
                f"prompt, and not {NUM_MASKS} masks of {LOGITS} x {LOGITS}"
            )
        if not (np.isfinite(logits.sum()) and np.isfinite(scores.sum())):
            raise InputError(f"{self.folder / DECODER} is damaged: its masks are not numbers")
        chosen = slice(1, None) if several else slice(0, 1)
        return logits[:, chosen], scores[:, chosen]

    def _answer(self, embedding: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        """Four masks (1, 4, 256, 256) of one prompt, and what is expected of them (1, 4)."""
        logits, scores = self.decoder.run(
            ["low_res_masks", "iou_predictions"],
            {
                "image_embeddings": embedding,
                "point_coords": points[None],
                "point_labels": labels[None],
                "mask_input": np.zeros((1, 1, LOGITS, LOGITS), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                # Of masks as large as a photo, which are made as well: the smaller, the sooner.
                "orig_im_size": np.full(2, LOGITS, np.float32),
            },
        )
        return np.asarray(logits), np.asarray(scores)


@kept(1)
def _opened(folder: Path, stamps: tuple[tuple[int, int], ...], device: Device) -> _Model:
    """The networks of a folder; the last ones are kept."""
    del stamps
    sessions = []
    for name, inputs in ((ENCODER, ENCODER_INPUTS), (DECODER, DECODER_INPUTS)):
        session = open_network(folder / name, device, threads=1)
        found = [i.name for i in session.get_inputs()]
        if sorted(found) != sorted(inputs):
            raise InputError(f"{folder / name} is another network: its inputs are {found}")
        sessions.append(session)
    return _Model(folder, *sessions)
