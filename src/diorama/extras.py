"""Optional dependencies: which module each extra brings, and one line for whoever lacks it."""

import importlib
import importlib.util
from types import ModuleType

from diorama.errors import MissingExtraError

EXTRAS = {
    "convert": "onnx",
    "diffusion": "diffusers",
    "exr": "OpenEXR",
    "gpu": "triton",
    "heic": "pillow_heif",
    "models": "huggingface_hub",
    "portrait": "skimage",
}
"""The module by which an extra is known to be installed."""


def has_extra(extra: str) -> bool:
    """Whether the extra is installed; nothing is imported."""
    return importlib.util.find_spec(EXTRAS[extra]) is not None


def check_extra(extra: str, purpose: str) -> None:
    """Raise `MissingExtraError`, which says what needs the extra, if it is not installed."""
    if not has_extra(extra):
        raise MissingExtraError(purpose, extra)


def import_extra(extra: str, purpose: str) -> ModuleType:
    """The extra's module.

    Raises:
        MissingExtraError: if it is not installed, naming what needs it.
    """
    check_extra(extra, purpose)
    return importlib.import_module(EXTRAS[extra])
