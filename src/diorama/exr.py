"""OpenEXR files as float channels."""

import contextlib
from pathlib import Path

import numpy as np

from diorama.arrays import Array, refuse_bomb
from diorama.errors import DioramaError, InputError
from diorama.extras import import_extra
from diorama.runtime import silence


def read_exr(path: str | Path) -> dict[str, Array]:
    """The channels of an EXR file's first part by name, each (H, W) float32.

    Raises:
        InputError: if it is damaged or claims too many pixels.
        MissingExtraError: if the extra is not installed.
    """
    exr = import_extra("exr", f"reading {path}")
    try:
        # It reports every damaged chunk, some on stderr, some by Python's print.
        with silence(), contextlib.redirect_stdout(None):
            low, high = exr.File(str(path), header_only=True).header()["dataWindow"]
            width, height = (int(n) for n in np.asarray(high, np.int64) - low + 1)
            refuse_bomb(path, width, height)
            with exr.File(str(path), separate_channels=True) as file:
                channels = {name: channel.pixels for name, channel in file.channels().items()}
    except DioramaError:
        raise
    # Whatever its bindings raise about a damaged file; they name no type.
    except Exception as error:
        raise InputError(f"{path} is damaged: {_reason(error)}") from error
    for name, pixels in channels.items():
        # What cannot be read is reported on stderr alone and left out, or left at another size.
        if np.shape(pixels) != (height, width):
            raise InputError(f"{path} is damaged: channel {name} is incomplete")
    return {name: np.asarray(pixels, np.float32) for name, pixels in channels.items()}


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
