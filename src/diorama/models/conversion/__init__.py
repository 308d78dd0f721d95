"""Converting models: torch checkpoints and TFLite to ONNX, ONNX to half precision and to 8 bits.

Each conversion is a plain function from one model to the next (`torch_network`, `tflite`, `half`,
`integer`), and none is believed: the result is run on photos beside what it was made from, and
refused where it is farther away than its precision explains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from diorama.arrays import Array, RgbBytes
from diorama.errors import InputError, UnknownNameError
from diorama.extras import check_extra, import_extra
from diorama.files import whole_file
from diorama.models.conversion.calibration import Rule
from diorama.models.conversion.sessions import (
    in_order,
    load_model,
    photo_input,
    relative_errors,
    run_photos,
)
from diorama.pictures import read_picture
from diorama.registry import DATA
from diorama.runtime import open_session

if TYPE_CHECKING:
    from onnx import ModelProto

ALL_RULES: tuple[Rule, ...] = get_args(Rule)

Precision = Literal["onnx", "onnx-fp16", "onnx-int8"]
"""float32, half precision, or 8 bits."""

SUFFIXES: dict[Precision, str] = {"onnx": "", "onnx-fp16": "-fp16", "onnx-int8": "-int8"}
"""What is added to a model's name in its file's."""

LIMITS: dict[Precision, float] = {"onnx": 1e-3, "onnx-fp16": 0.02, "onnx-int8": 0.2}
"""The largest error, mean over channels in deviations of the reference, that a precision explains:
the order of sums; 10 bits of mantissa; 8 bits through some eighty layers."""

MAX_PHOTOS = 48
"""Photos that a conversion is calibrated and checked on; more change ranges no more."""


@dataclass(frozen=True)
class Conversion:
    """A converted model."""

    path: Path
    precision: Precision
    size_mb: float
    error: float
    """Against what it was made from, mean over channels, in standard deviations."""
    rule: str | None = None
    """How 8 bits' ranges were chosen."""
    tried: dict[str, float] = field(default_factory=dict)
    """The error of every rule for ranges, on photos held out."""
    floats: tuple[str, ...] = ()
    """Kinds of operations that 8 bits left in floats."""


def convert(
    source: str,
    to: Precision,
    out: Path | None = None,
    *,
    weights: Path | None = None,
    photos: Sequence[Path] = (),
    rules: Sequence[Rule] = ALL_RULES,
) -> Conversion:
    """Convert a model, check the result against what it was made from, and write it.

    Args:
        source: a network's name, an .onnx or a .tflite file.
        to: the precision.
        out: the file; None: the source's name with `SUFFIXES`, in the working folder.
        weights: the checkpoint of a network that is named.
        photos: to calibrate and check on; none: parts of the bundled one, which is enough to try.
        rules: for ranges of 8 bits; the one with the least error is taken.

    Raises:
        InputError: if the source, a photo or the result cannot be used.
        UnknownNameError: if no network has this name.
        OutputError: if the file cannot be written.
        MissingExtraError: if the extra is not installed.
    """
    check_extra("convert", f"converting {source}")
    path = out or Path(f"{Path(source).stem}{SUFFIXES[to]}.onnx")
    model, reference = _opened(source, to, weights)
    session = open_session(model)
    wanted = photo_input(session, source)
    tensors = [wanted.tensor(rgb) for rgb in _photos(photos)]
    answers = run_photos(session, tensors)
    error = 0.0
    if reference is not None:
        error = float(relative_errors([reference(tensor) for tensor in tensors], answers).mean())
        _check(error, "onnx", source)
    rule, tried, floats = None, {}, ()
    if to == "onnx-fp16":
        from diorama.models.conversion.half import to_half

        model = to_half(model)
    elif to == "onnx-int8":
        from diorama.models.conversion.integer import to_integer

        quantised = to_integer(model, tensors, rules=rules)
        model, rule = quantised.model, quantised.rule
        tried, floats = quantised.tried, quantised.floats
    if to != "onnx":
        error = float(relative_errors(answers, run_photos(open_session(model), tensors)).mean())
        _check(error, to, source)
    _write(model, path, {"precision": to, "ranges": rule or ""})
    return Conversion(path, to, path.stat().st_size / 1e6, error, rule, tried, floats)


def _opened(
    source: str, to: Precision, weights: Path | None
) -> "tuple[ModelProto, Callable[[Array], list[Array]] | None]":
    """The float32 model, and what it was made from, as a function of a batch; None for ONNX."""
    suffix = Path(source).suffix.lower()
    if suffix == ".tflite":
        from diorama.models.conversion.tflite import Interpreter, read_tflite

        return read_tflite(Path(source)), Interpreter(Path(source)).run
    if suffix == ".onnx":
        if to == "onnx":
            raise InputError(f"{source} is ONNX already: pass --to onnx-fp16 or onnx-int8")
        return load_model(Path(source)), None
    from diorama.models.conversion.torch_network import NETWORKS, load_network, run, to_onnx

    if source not in NETWORKS:
        raise UnknownNameError("network", source, (*NETWORKS, "FILE.onnx", "FILE.tflite"))
    if weights is None:
        raise InputError(f"pass the checkpoint of {source} with --weights FILE.pt")
    network = load_network(source, weights)
    return to_onnx(network), lambda tensor: run(network, tensor)


def _photos(paths: Sequence[Path]) -> list[RgbBytes]:
    """At most `MAX_PHOTOS` of the photos, evenly; or parts of the bundled one."""
    if paths:
        number = min(len(paths), MAX_PHOTOS)
        return [read_picture(paths[k * len(paths) // number]).rgb for k in range(number)]
    whole = read_picture(DATA / "demo.jpg").rgb
    height, width = (side * 2 // 3 for side in whole.shape[:2])
    parts = [
        whole,
        *(whole[y:, x:][:height, :width] for y in (0, height // 2) for x in (0, width // 2)),
    ]
    return [view for part in parts for view in (part, part[:, ::-1])]


def _check(error: float, precision: Precision, source: str) -> None:
    """Refuse a conversion that changed what the model says; not a number counts as a change."""
    if not error <= LIMITS[precision]:
        raise InputError(
            f"converting {source} to {precision} failed: its outputs are {error:.1%} of their "
            f"deviation away from the original's, at most {LIMITS[precision]:.1%} is right"
        )


def _write(model: "ModelProto", path: Path, notes: dict[str, str]) -> None:
    """Write the model, with what was done to it."""
    onnx = import_extra("convert", f"writing {path.name}")
    model = in_order(model)
    onnx.helper.set_model_props(model, {key: value for key, value in notes.items() if value})
    onnx.checker.check_model(model)
    with whole_file(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
