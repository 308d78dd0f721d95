"""From a photo to a scene: the stages in order, and nothing else."""

import dataclasses
import logging
import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

import diorama
from diorama import registry
from diorama.arrays import Alpha, Array, Labels
from diorama.camera import Camera, ViewBox
from diorama.config import SceneConfig, config_from_dict
from diorama.depth import DepthEstimator, DepthResult, canonical_disparity
from diorama.depth_files import DEPTH_SUFFIXES, read_depth
from diorama.errors import InputError, UnknownNameError
from diorama.harmonise import harmonise
from diorama.inpaint import Inpainter, fill_layers
from diorama.layers import extract_layers
from diorama.masks import Masks, PromptedSegmenter, Segmenter, set_apart
from diorama.matting import reconcile
from diorama.phone_depth import own_depth
from diorama.photo import Photo, load_photo
from diorama.portrait import (
    Face,
    FaceDetector,
    MatteEstimator,
    add_faces,
    confirmed,
    find_people,
    hair_of,
    masks_of,
    point_at_people,
    settle_outlines,
)
from diorama.runtime import release_networks
from diorama.scene import Part, Scene
from diorama.scene_file import read_scene

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

STAGES = ("photo", "depth", "masks", "harmonise", "layers", "inpaint")
"""The stages `photo_to_scene` reports, in order."""

AUTO, OWN, NONE = "auto", "own", "none"
"""Of `SceneConfig.depth` and `SceneConfig.faces`, beside the models' names."""

DETECTORS = ("yunet", "cascade")
"""What finds faces if nobody says: the first that is at hand."""

LEAST_PEOPLE = 0.003
"""Share of the photo below which the estimator's own matte says that nobody is there."""

_DEPENDENT: dict[str, tuple[str, ...]] = {
    "photo": STAGES[2:],
    "raw_disparity": STAGES[3:],
    "edges": STAGES[2:],
    "masks": STAGES[3:],
    "disparity": STAGES[4:],
    "alpha": STAGES[4:],
    "camera": STAGES[4:],
    "view_box": STAGES[4:],
    "layers": (),
}
"""What is made anew when a part was edited."""

_SETTINGS = (
    *("seed", "commercial_only", "precision", "prompt"),
    *("harmonise", "layers", "matting", "inpaint"),
)
"""Of `SceneConfig`: what making anew needs; not the device, which another machine may not have."""


def photo_to_scene(
    source: "str | Path | Image | Array",
    *,
    depth: DepthResult | None = None,
    view_box: ViewBox | None = None,
    config: SceneConfig = SceneConfig(),
    progress: Callable[[str], None] | None = None,
) -> Scene:
    """Turn one photo into a scene.

    Args:
        source: a file, a PIL image, or an array (H, W, 3) of uint8 or of float in 0..1.
        depth: depth at hand; instead of `config.depth`.
        view_box: where the camera will go; holes are filled for it and no more. None: the default
            box, narrower for a telephoto lens.
        config: everything else.
        progress: called with each stage's name (of `STAGES`) as it begins.

    Returns:
        The scene.

    Raises:
        DioramaError: where something cannot be used, with one line on what, where and what to do.
    """
    report = progress or (lambda stage: None)
    models = _Models(config, source, depth)

    report("photo")
    photo = load_photo(
        source,
        max_size=config.max_size,
        texture_size=config.texture_size,
        fov_deg=config.fov_deg,
    )

    report("depth")
    estimate = models.depth(photo)
    runs_as: dict[str, str] = {}
    _close(runs_as, models.names, "depth", models.estimator, config)
    if config.fov_deg is None and estimate.fov_deg is not None and not photo.tells_fov:
        camera = Camera.from_fov(photo.camera.width, photo.camera.height, estimate.fov_deg)
        photo = replace(photo, camera=camera)
    canonical = canonical_disparity(estimate, photo)
    portraits = models.portraits(canonical.matte)
    if view_box is None:
        view_box = ViewBox.for_camera(photo.camera)
    scene = Scene(
        photo=photo,
        view_box=view_box,
        raw_disparity=canonical.disparity,
        disparity=canonical.disparity,
        masks=Masks(np.zeros(canonical.disparity.shape, np.int32), np.zeros(1, np.int32)),
        layers=(),
        metric=canonical.metric,
        disparity_scale=canonical.scale,
        provenance={
            "models": models.names,
            **models.facts,
            "runs_as": runs_as,
            "config": dataclasses.asdict(config),
        },
        confidence=canonical.confidence,
        edges=canonical.edges,
    )
    return _make(
        scene,
        STAGES[2:],
        config=config,
        segmenter=models.segmenter,
        portraits=portraits,
        inpainter=models.inpainter,
        report=report,
    )


def check_models(config: SceneConfig) -> None:
    """Raise what `photo_to_scene` would raise about the models themselves, whatever the photo.

    Raises:
        UnknownNameError: if one is not registered.
        InputError: if one was not pulled or is damaged, needs a licence to be accepted, or cannot
            run as it is asked to.
        MissingExtraError: if the extra of one is not installed.
    """
    _Models(config, None, None)


def open_scene(
    path: str | os.PathLike[str], *, progress: Callable[[str], None] | None = None
) -> Scene:
    """Open a saved scene, folder or zip.

    What was edited since it was saved, in an image editor or in `scene.json`, is noticed, and what
    depends on it is made anew, as by `remake`. Without an edit nothing is computed, and the scene
    is exactly what was saved. The files stay as they are until the scene is saved again.

    Args:
        path: a ``.diorama`` folder or a ``.zip``.
        progress: called with the name (of `STAGES`) of each stage that is run again.

    Returns:
        The scene.

    Raises:
        InputError: if it is not a scene, is damaged, or was made by a newer version; one line that
            names the file and the field.
        DioramaError: if it was edited and a model it was made with is not at hand.
    """
    scene, edited = read_scene(path)
    if not edited:
        return scene
    try:
        return remake(scene, edited, progress=progress)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def remake(
    scene: Scene,
    edited: Collection[str],
    *,
    progress: Callable[[str], None] | None = None,
) -> Scene:
    """Make anew what depends on the parts of a scene that were edited, and nothing else.

    ::

        photo, edges ─ masks, harmonise, layers, inpaint     the depth stays as it was
        raw_disparity ──────── harmonise, layers, inpaint
        masks ──────────────── harmonise, layers, inpaint
        disparity, alpha, camera, view_box ─ layers, inpaint
        layers ─────────────────────────────────────────     nothing

    Masks and disparity that were ever edited, now or before, are kept, whatever they depend on;
    `Scene.provenance` ("edited") remembers them. Settings, seed and models are those the scene was
    made with, also from its provenance.

    Args:
        scene: with the edited parts in it, as `dataclasses.replace` puts them there.
        edited: which parts they are, of `diorama.scene.Part`.
        progress: called with the name (of `STAGES`) of each stage as it begins.

    Returns:
        The scene as `photo_to_scene` would have made it from these parts.

    Raises:
        UnknownNameError: if a scene has no such part.
        DioramaError: if a model that is needed is not at hand, or a setting is no longer valid.
    """
    known = get_args(Part)
    if unknown := set(edited) - set(known):
        raise UnknownNameError("part of a scene", str(min(unknown)), known)
    earlier = set(scene.provenance.get("edited", ()))
    by_hand = earlier | set(edited)
    stages = [
        stage
        for stage in STAGES
        if any(stage in _DEPENDENT[part] for part in edited)
        and not (stage == "masks" and "masks" in by_hand)
        and not (stage == "harmonise" and "disparity" in by_hand)
    ]
    if "harmonise" not in stages and "raw_disparity" in edited:
        logger.warning(
            "%s: disparity was edited by hand and is kept; raw_disparity does not change it",
            scene.photo.name,
        )
    if stages and "layers" in by_hand:
        logger.warning(
            "%s: layers are made anew, without what was painted into them by hand",
            scene.photo.name,
        )
        by_hand.remove("layers")
    settings = scene.provenance.get("config", {})
    config = config_from_dict(
        SceneConfig,
        {name: settings[name] for name in _SETTINGS if name in settings},
        "provenance: config",
    )
    remade = replace(
        scene,
        provenance={
            **scene.provenance,
            "edited": [part for part in known if part in by_hand],
        },
    )
    if not stages:
        return remade
    tasks: tuple[registry.Task, ...] = ("inpainter",)
    if "masks" in stages:
        tasks = ("segmenter", "inpainter")
        if "faces" in scene.provenance.get("models", {}):
            tasks = (*tasks, "faces", "matte")
    models: dict[str, Any] = {}
    for task in tasks:
        entry = _saved_entry(scene, task)
        models[task] = _load(entry, config)
        _note(remade.provenance, entry)
    return _make(
        remade,
        stages,
        config=config,
        segmenter=models.get("segmenter"),
        portraits=_Portraits(models["faces"], models["matte"]) if "faces" in models else None,
        inpainter=models["inpainter"],
        report=progress or (lambda stage: None),
    )


def _make(
    scene: Scene,
    stages: Collection[str],
    *,
    config: SceneConfig,
    segmenter: Segmenter | None,
    portraits: "_Portraits | None",
    inpainter: Inpainter,
    report: Callable[[str], None],
) -> Scene:
    """Run those of the stages after depth that are asked for; layers and inpaint always are."""
    photo, masks, disparity = scene.photo, scene.masks, scene.disparity
    reports = dict(scene.provenance.get("reports", {}))
    before = scene.provenance.get("runs_as")
    runs_as = dict(before) if isinstance(before, dict) else {}
    names = scene.provenance.get("models", {})
    faces = _faces_in(scene.provenance)

    if "masks" in stages and segmenter is not None:
        report("masks")
        masks = segmenter.segment(photo, scene.raw_disparity, scene.edges)
        if portraits is not None:
            faces, owners = portraits.find(photo, segmenter)
            for number in range(1, len(faces) + 1):
                masks = set_apart(masks, owners == number)
            _close(runs_as, names, "matte", portraits.matter, config)
        _close(runs_as, names, "segmenter", segmenter, config)
    if photo.nothing is not None:
        masks = set_apart(masks, photo.nothing)

    if "harmonise" in stages:
        report("harmonise")
        harmonised = harmonise(
            photo,
            scene.raw_disparity,
            masks,
            confidence=scene.confidence,
            config=config.harmonise,
        )
        disparity = harmonised.disparity
        if faces:
            disparity = settle_outlines(disparity, faces, masks.labels)
        if faces and names.get("depth") == "embedded":  # large networks know what a face is like
            disparity = add_faces(disparity, faces, masks.labels, photo.camera)
        reports["harmonise"] = dataclasses.asdict(harmonised.report)

    report("layers")
    layers, layers_report = extract_layers(
        photo,
        disparity,
        masks,
        scene.view_box,
        whole=masks_of(faces, masks.labels),
        hair=hair_of(faces, disparity.shape) if faces else None,
        confidence=scene.confidence,
        config=config.layers,
        matting=config.matting,
    )
    reports["layers"] = dataclasses.asdict(layers_report)

    report("inpaint")
    layers = fill_layers(
        photo,
        layers,
        disparity,
        inpainter=inpainter,
        view_box=scene.view_box,
        config=config.inpaint,
        seed=config.seed,
        overwrite=True,
    )
    _close(runs_as, names, "inpainter", inpainter, config)
    opaque = None if photo.alpha is None else photo.alpha >= 1
    reconcile(photo.rgb, [(layer.rgba, layer.hole) for layer in layers], opaque=opaque)

    versions = {
        "diorama": diorama.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    return replace(
        scene,
        masks=masks,
        disparity=disparity,
        layers=layers,
        provenance={
            **scene.provenance,
            "versions": versions,
            "runs_as": runs_as,
            "reports": reports,
            "faces": [dataclasses.asdict(face) for face in faces],
        },
    )


@dataclasses.dataclass(frozen=True)
class _Portraits:
    """What finds people."""

    detector: FaceDetector
    matter: MatteEstimator
    matte: Alpha | None = None
    """The photo's, if the estimator has made one."""

    def find(self, photo: Photo, segmenter: Segmenter) -> tuple[Sequence[Face], Labels]:
        """The faces, and whose each pixel is; see `find_people`.

        A segmenter that can be pointed at knows better than a matte who has a face.
        """
        faces = self.detector.detect(photo)
        if faces:
            matte = self.matter.matte(photo) if self.matte is None else self.matte
            faces = confirmed(faces, matte)
            if faces and isinstance(segmenter, PromptedSegmenter):
                return faces, point_at_people(segmenter.look(photo), faces, photo.rgb.shape)
            return faces, find_people(photo.rgb, matte, faces)
        return (), np.zeros(photo.rgb.shape[:2], np.int32)


def _faces_in(provenance: Mapping[str, Any]) -> tuple[Face, ...]:
    """Those found when the masks were made."""
    try:
        return tuple(Face.from_dict(face) for face in provenance.get("faces", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"provenance: faces cannot be read: {error}") from error


def _saved_entry(scene: Scene, task: registry.Task) -> registry.ModelEntry:
    """The model that made the scene."""
    name = scene.provenance.get("models", {}).get(task, "embedded")
    try:
        return registry.find(task, name)
    except UnknownNameError as error:
        raise InputError(
            f"made with the {task} {name!r}, which is not registered here: register it, or name "
            f"another in provenance.models.{task} of scene.json ({error})"
        ) from error


def _load(entry: registry.ModelEntry, config: SceneConfig) -> Any:
    if config.commercial_only and not entry.commercial:
        raise InputError(
            f"{entry.task} {entry.name!r} is not for commercial use ({entry.licence}), and "
            f"--commercial-only was asked for: choose another, such as --{entry.task} embedded"
        )
    return registry.load(
        entry.task,
        entry.name,
        device=config.device,
        precision=config.precision,
        prompt=config.prompt,
    )


def _close(
    runs_as: dict[str, str],
    names: Mapping[str, str],
    task: registry.Task,
    model: object,
    config: SceneConfig,
) -> None:
    """When a model is done: write down how its network ran, and close it if memory is short.

    A model with a network says where and in what it runs as `runs_as`, such as "cuda bf16".
    """
    for key in [key for key in runs_as if key.startswith(f"{task} ")]:
        del runs_as[key]
    if (how := getattr(model, "runs_as", None)) is not None:
        runs_as[f"{task} {names.get(task, 'embedded')}"] = how
    if config.low_memory:
        release_networks()


def _note(provenance: dict[str, Any], entry: registry.ModelEntry) -> None:
    """Write down what is to be known of a model, in place of the one that had its task before."""
    licence = entry.licence if entry.commercial else f"{entry.licence} (not for commercial use)"
    facts = {"licences": licence, "attributions": entry.attribution, "weights": entry.fingerprint}
    key = f"{entry.task} {entry.name}"
    for name, fact in facts.items():
        before = provenance.get(name)
        kept = {
            k: v
            for k, v in (before.items() if isinstance(before, dict) else ())
            if k == key or not k.startswith(f"{entry.task} ")
        }
        if fact is not None:
            kept[key] = fact
        if kept or name in provenance:
            provenance[name] = kept


class _Models:
    """The models a run uses, found before anything is computed so that a typo costs no time."""

    def __init__(self, config: SceneConfig, source: object, depth: DepthResult | None) -> None:
        self.names: dict[str, str] = {}
        self.facts: dict[str, Any] = {"licences": {}, "weights": {}}
        self._given = depth
        self._source = source
        self._config = config
        self.estimator: DepthEstimator | None = None
        if depth is not None:
            self.names["depth"] = "given"
        elif self._is_file(config.depth):
            self.names["depth"] = Path(config.depth).name
        elif config.depth not in (AUTO, OWN):
            self.estimator = self._load("depth", config.depth)
        elif config.depth == AUTO:
            _load(registry.find("depth", "embedded"), config)  # in case the photo brings none
        self.segmenter = self._load("segmenter", config.segmenter)
        self.inpainter = self._load("inpainter", config.inpainter)
        faces = self._detector(config.faces)
        self._portrait = [faces, registry.find("matte", config.matte)] if faces else []
        self._portrait_models = [_load(entry, config) for entry in self._portrait]

    def depth(self, photo: Photo) -> DepthResult:
        """Depth from whichever source was asked for."""
        config = self._config
        if self._given is not None:
            return self._given
        if self._is_file(config.depth):
            return read_depth(
                config.depth,
                kind=config.depth_kind,
                scale=config.depth_scale,
                unit_m=config.depth_unit_m,
            )
        if config.depth in (AUTO, OWN):
            brought = own_depth(self._source) if isinstance(self._source, (str, Path)) else None
            if brought is not None:
                self.names["depth"] = OWN
                return brought
            if config.depth == OWN:
                raise InputError(
                    f"{photo.name} brings no depth of its own: choose another --depth, such as auto"
                )
            self.estimator = self._load("depth", "embedded")
        assert self.estimator is not None
        return self.estimator.estimate(photo)

    def portraits(self, matte: Alpha | None) -> _Portraits | None:
        """What finds people; `matte` is the depth estimator's, if it has one.

        Depth that was measured knows better where they end than their masks do.
        """
        if self.estimator is None:
            if self._config.faces not in (AUTO, NONE):
                logger.warning("depth is given, so --faces %s changes nothing", self._config.faces)
            return None
        nobody = matte is not None and (matte > 0.5).mean() < LEAST_PEOPLE
        if not self._portrait or nobody:
            return None
        for entry in self._portrait:
            self._name(entry)
        detector, matter = self._portrait_models
        return _Portraits(detector, matter, matte if self._config.matte == "embedded" else None)

    @staticmethod
    def _detector(name: str) -> registry.ModelEntry | None:
        if name == NONE:
            return None
        if name != AUTO:
            return registry.find("faces", name)
        at_hand = (registry.find("faces", each) for each in DETECTORS)
        return next((entry for entry in at_hand if registry.is_at_hand(entry)), None)

    @staticmethod
    def _is_file(depth: str) -> bool:
        return Path(depth).suffix.lower() in DEPTH_SUFFIXES

    def _load(self, task: registry.Task, name: str) -> Any:
        try:
            entry = registry.find(task, name)
        except UnknownNameError as error:
            if task != "depth":
                raise
            names = [e.name for e in registry.entries("depth")]
            files = f"or a file with depth ({', '.join(sorted(DEPTH_SUFFIXES))})"
            raise UnknownNameError("depth", name, [*names, AUTO, OWN], also=files) from error
        model = _load(entry, self._config)
        self._name(entry)
        return model

    def _name(self, entry: registry.ModelEntry) -> None:
        self.names[entry.task] = entry.name
        _note(self.facts, entry)
