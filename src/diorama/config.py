"""Everything that can be set about making a scene, as one frozen dataclass."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from diorama.depth import DepthKind
from diorama.depth_files import DepthValues
from diorama.errors import InputError
from diorama.harmonise import HarmoniseConfig
from diorama.inpaint import InpaintConfig
from diorama.layers import LayersConfig
from diorama.matting import MattingConfig
from diorama.runtime import Device, Precision

LARGEST = 1e12
"""Of any number in a config."""

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class SceneConfig:
    """How a photo becomes a scene. Every stage's settings are nested under its name."""

    depth: str = "auto"
    """A depth estimator's name, or a file with depth; "own": what a phone put into the photo's
    file; "auto": the same, and the embedded estimator where there is none."""
    depth_kind: DepthValues | None = None
    """What a depth file's values are; None: what the file suggests, else disparity."""
    depth_scale: DepthKind | None = None
    """What they are known up to; None: metric for a depth, relative for a disparity."""
    depth_unit_m: float | None = None
    """Metres a unit of a metric depth; None: 0.001 for integers, 1 for floats."""
    segmenter: str = "embedded"
    """A segmenter's name."""
    inpainter: str = "embedded"
    """An inpainter's name."""
    prompt: str = ""
    """What holes should show, in words, for inpainters that read them; "": what fits in."""
    faces: str = "auto"
    """A face detector's name; "auto": the best at hand, if any; "none": people are nothing special.
    Who has a face is a mask of its own, and the face gets a head's relief."""
    matte: str = "embedded"
    """The name of what tells people from the rest, where there are faces."""
    device: Device = "auto"
    """Where networks run; auto: each where it is best, such as a large one on a GPU."""
    precision: Precision = "auto"
    """Of networks' arithmetic; auto: as each is best."""
    low_memory: bool = False
    """Close a network when its stage is done: less memory, and the next photo opens it again."""
    commercial_only: bool = False
    """Refuse models whose licence forbids commercial use, even if it was accepted."""
    max_size: int = 1920
    """Longest side in pixels that is computed on."""
    texture_size: int = 4096
    """Longest side in pixels of textures; larger photos are shrunk."""
    fov_deg: float | None = None
    """Horizontal field of view in degrees; None: the photo's own, else 55."""
    seed: int = 0
    """Of everything random."""
    harmonise: HarmoniseConfig = field(default_factory=HarmoniseConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    matting: MattingConfig = field(default_factory=MattingConfig)
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)


def config_from_dict(cls: type[_Config], values: Mapping[str, Any], where: str) -> _Config:
    """A config dataclass from what `dataclasses.asdict` made of one, in whatever version.

    Args:
        cls: the dataclass, whose fields may be dataclasses.
        values: JSON-ready. Names it does not know are passed over, missing ones take the default.
        where: names the place in messages.

    Returns:
        The config.

    Raises:
        InputError: if a value has the wrong type or is out of its range, naming the field.
    """
    hints: dict[str, Any] = get_type_hints(cls)
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(cls) if f.name in values):  # pyright: ignore[reportArgumentType]
        value, hint = values[name], hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: {name} must be an object, but is {str(value)[:60]!r}")
            value = config_from_dict(hint, value, f"{where}: {name}")
        elif not _fits(value, hint):
            wanted = getattr(hint, "__name__", str(hint))
            raise InputError(f"{where}: {name} must be {wanted}, but is {str(value)[:60]!r}")
        found[name] = value
    try:
        return cls(**found)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return type(value) in (int, float) and abs(value) < LARGEST  # pyright: ignore
    return type(value) is hint
