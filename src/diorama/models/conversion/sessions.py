"""ONNX models as files, protos and sessions, and the pictures they take.

A model here has one input, a batch of photos: float32 sRGB in 0..1, (B, 3, H, W) or (B, H, W, 3),
of fixed size or of any with sides that are multiples of `GRID`. Any other normalisation has to be
part of the network, so that nobody can forget it. One that fills holes takes the hole's mask as a
fourth channel.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from diorama.arrays import Array, RgbBytes
from diorama.errors import InputError
from diorama.extras import import_extra

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

GRID = 32
"""Sides of a free input are multiples of this."""

PIXELS = 384 * 512
"""Of a photo as a model with a free input sees it."""

Answers = Sequence[Sequence[Array]]
"""What a model makes of several photos: all its outputs for each."""


@dataclass(frozen=True)
class PhotoInput:
    """How a model wants its photos."""

    name: str
    channels_last: bool
    """(B, H, W, 3) rather than (B, 3, H, W)."""
    masked: bool
    """There is a fourth channel: where a hole is, whose colours are 0."""
    height: int | None
    width: int | None
    """In pixels; None: any multiple of `GRID`."""

    def tensor(self, photo: RgbBytes, *, pixels: int = PIXELS) -> Array:
        """One photo as a batch: float32, of the model's own size or of about `pixels`."""
        height, width = photo.shape[:2]
        scale = (pixels / (height * width)) ** 0.5
        height = self.height or max(2, round(scale * height / GRID)) * GRID
        width = self.width or max(2, round(scale * width / GRID)) * GRID
        way = cv2.INTER_AREA if width < photo.shape[1] else cv2.INTER_LINEAR
        values = cv2.resize(photo, (width, height), interpolation=way) / np.float32(255)
        if self.masked:
            hole = np.zeros((height, width, 1), np.float32)
            hole[height // 4 : height // 2, width // 3 : width // 2] = 1
            values = np.dstack([values * (1 - hole), hole])
        values = values if self.channels_last else values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None], np.float32)


def load_model(path: Path) -> "ModelProto":
    """Read and check an ONNX file.

    Raises:
        InputError: if it cannot be read, is cut short, or is no ONNX model.
        MissingExtraError: if onnx is not installed.
    """
    onnx = import_extra("convert", f"reading {path.name}")
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise InputError(f"{path} is not there: pass an .onnx file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} is damaged or no ONNX model: {reason}") from error
    return model


def in_order(model: "ModelProto") -> "ModelProto":
    """The model with every node after those it takes from, which tools that add some forget."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    tidy = OnnxModel(model)
    tidy.topological_sort()
    return tidy.model


def photo_input(session: "InferenceSession", name: str) -> PhotoInput:
    """How the model called `name` wants its photos.

    Raises:
        InputError: if it does not take photos, with the inputs it has.
    """
    inputs = session.get_inputs()
    found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
    wrong = InputError(
        f"{name} must have one input of photos, tensor(float) (B, 3, H, W) or (B, H, W, 3), "
        f"or of 4 channels with a mask, got {found}"
    )
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise wrong
    shape = inputs[0].shape
    if not {shape[1], shape[3]} & {3, 4}:
        raise wrong
    last = shape[1] not in (3, 4)
    masked = shape[3 if last else 1] == 4
    height, width = (s if isinstance(s, int) else None for s in (shape[1:3] if last else shape[2:]))
    return PhotoInput(inputs[0].name, last, masked, height, width)


def run_photos(
    session: "InferenceSession", tensors: Iterable[Array], names: Sequence[str] | None = None
) -> list[list[Array]]:
    """What the model makes of each batch: all its outputs, or those of these names."""
    name = session.get_inputs()[0].name
    runs = (session.run(names, {name: tensor}) for tensor in tensors)
    return [[np.asarray(output) for output in run] for run in runs]


def relative_errors(references: Answers, candidates: Answers) -> Array:
    """How far a model's answers are from another's, for each channel of each output.

    Root of the mean square of the difference over the standard deviation of the reference, both
    over all photos. Axis 1 is the channels' where there are three axes or more.

    Raises:
        InputError: if the outputs differ in number or shape.
    """
    errors = []
    for number in range(len(references[0])):
        differences, squares, values, count = 0.0, 0.0, 0.0, 0
        for reference, candidate in zip(references, candidates, strict=True):
            if [r.shape for r in reference] != [c.shape for c in candidate]:
                raise InputError("the outputs of the two models differ in number or shape")
            expected, actual = (
                outputs[number].astype(np.float64) for outputs in (reference, candidate)
            )
            axes = (0, *range(2, expected.ndim)) if expected.ndim > 2 else None
            differences += np.square(actual - expected).sum(axis=axes)
            squares += np.square(expected).sum(axis=axes)
            values += expected.sum(axis=axes)
            count += expected.size // np.size(squares)
        variance = np.maximum(squares / count - np.square(values / count), 0)
        floor = 1e-6 * squares / count + 1e-18  # of an output that is all but constant
        errors.append(np.ravel(np.sqrt(differences / count / np.maximum(variance, floor))))
    return np.concatenate(errors)
