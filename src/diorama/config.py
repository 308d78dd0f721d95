"""Everything that can be set about making a scene, as one frozen dataclass."""

from dataclasses import dataclass, field

from diorama.depth import DepthKind
from diorama.depth_files import DepthValues
from diorama.harmonise import HarmoniseConfig
from diorama.inpaint import InpaintConfig
from diorama.layers import LayersConfig
from diorama.matting import MattingConfig


@dataclass(frozen=True)
class SceneConfig:
    """How a photo becomes a scene. Every stage's settings are nested under its name."""

    depth: str = "embedded"
    """A depth estimator's name, or a file with depth."""
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
