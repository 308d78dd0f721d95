"""8 bits: integer arithmetic with unsigned activations and signed weights, a scale each channel.

Quantised values are written as pairs of QuantizeLinear and DequantizeLinear around each tensor
(QDQ), which every runtime can read and turn into the integer arithmetic it has. What is decided
here is decided by measuring, on photos that did not serve for calibration:

1. What makes the outputs, from the last layer with weights on, stays in floats: a disparity of 256
   steps is a staircase.
2. What is added to or multiplied with one value a channel stays in floats, and so does the step
   after it: in integers ONNX Runtime takes five times as long for it.
3. What follows from the photo's size alone stays in floats: places in a photo that is wider than
   those of the calibration would be clipped.
4. Operations without weights (softmax above all: over a whole picture every share is below one step
   of 8 bits) stay in floats where that takes a substantial part of the error away.
5. Of the rules for ranges (`calibration`) the one that leaves the least error is taken.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError
from diorama.extras import import_extra
from diorama.models.conversion.calibration import (
    PERCENTILES,
    Histogram,
    Range,
    Rule,
    collect,
    entropy,
    minmax,
    percentile,
)
from diorama.models.conversion.sessions import relative_errors, run_photos
from diorama.runtime import open_session

if TYPE_CHECKING:
    from onnx import ModelProto

GAIN = 0.1
"""The share of the error that leaving a kind of operation in floats must take away."""

HELD_OUT = 4
"""One photo of so many serves for choosing and not for calibration."""

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operations that are worth the integers."""

QUANTISED = WEIGHTED | {
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu"),
    *("MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
}
"""Operations that ONNX Runtime has integers for."""

SPARABLE = {
    *("Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"),
    "Softmax",
}
"""Of these, the ones without weights that make values of their own or bring ranges together."""


@dataclass(frozen=True)
class Quantised:
    """A model in 8 bits, and how it came about."""

    model: "ModelProto"
    rule: str
    """How ranges were chosen, such as "percentile 99.99"."""
    error: float
    """Of its outputs against the float model's on photos held out, mean over channels."""
    tried: dict[str, float]
    """The error of every rule."""
    floats: tuple[str, ...]
    """Kinds of operations that stay in floats throughout."""


def to_integer(
    model: "ModelProto", tensors: Sequence[Array], *, rules: Sequence[Rule]
) -> Quantised:
    """Quantise a float model.

    Args:
        model: with float32 weights.
        tensors: photos as the model takes them, two at least; more make better ranges.
        rules: the ones to try.

    Raises:
        InputError: if there are too few photos or nothing to quantise.
    """
    if len(tensors) < 2:
        raise InputError(f"calibrating needs at least 2 photos, got {len(tensors)}")
    prepared = _prepared(model)
    kinds = {node.op_type for node in prepared.graph.node}
    if "QuantizeLinear" in kinds or not kinds & WEIGHTED:
        raise InputError("the model is in 8 bits already, or has no layer with weights")
    held = list(tensors[::HELD_OUT])
    others = [tensor for k, tensor in enumerate(tensors) if k % HELD_OUT]
    ranges = _ranges(collect(prepared, others), rules)
    trial = _Trial(prepared, held)
    # Judged with the best ranges: where all is clipped or coarse, sparing something helps nothing.
    kinds = trial.kinds_to_spare(
        min(ranges.values(), key=lambda r: trial.error(trial.quantised(r)))
    )
    tried = {rule: trial.error(trial.quantised(r, kinds)) for rule, r in ranges.items()}
    rule = min(tried, key=lambda name: tried[name])
    return Quantised(trial.quantised(ranges[rule], kinds), rule, tried[rule], tried, kinds)


class _Trial:
    """The float model's answers on the photos held out, to hold candidates to."""

    def __init__(self, model: "ModelProto", tensors: Sequence[Array]) -> None:
        self._model, self._tensors = model, tensors
        self._answers = run_photos(open_session(model), tensors)
        self._floats = _output_nodes(model) | _broadcasts(model) | _places(model)
        self._kinds = _kinds(model)

    def quantised(self, ranges: dict[str, Range], kinds: Iterable[str] = ()) -> "ModelProto":
        """The model in 8 bits, but for the operations of these kinds."""
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        data: dict[str, Any] = {
            name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()
        }
        copy = type(self._model)()
        copy.CopyFrom(self._model)
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(self._floats.union(*(self._kinds[kind] for kind in kinds))),
            op_types_to_quantize=sorted(QUANTISED),
            extra_options={},
        )
        quantizer.quantize_model()
        return quantizer.model.model

    def error(self, candidate: "ModelProto") -> float:
        """Mean over channels."""
        answers = run_photos(open_session(candidate), self._tensors)
        return float(relative_errors(self._answers, answers).mean())

    def kinds_to_spare(self, ranges: dict[str, Range]) -> tuple[str, ...]:
        """The kinds of operations that are better left in floats, found one after the other."""
        spared: tuple[str, ...] = ()
        error = self.error(self.quantised(ranges, spared))
        while len(spared) < len(self._kinds):
            errors = {
                kind: self.error(self.quantised(ranges, (*spared, kind)))
                for kind in sorted(set(self._kinds) - set(spared))
            }
            best = min(errors, key=lambda kind: errors[kind])
            if errors[best] > (1 - GAIN) * error:
                break
            error = errors[best]
            spared += (best,)
        return spared


def _broadcasts(model: "ModelProto") -> set[str]:
    """Names of the nodes that add or multiply one value a channel, and of those that go on from it.

    Between two quantised neighbours ONNX Runtime would make integers of the first even so.
    """
    values = [*model.graph.value_info, *model.graph.output]
    sides = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][2:] for v in values}
    names: set[str] = set()
    made: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("Add", "Mul"):
            continue
        single = [name for name in node.input if sides.get(name) == [1, 1]]
        if made.intersection(node.input):
            names.add(node.name)
        elif len(single) == 1 and sides.get(node.output[0]) != [1, 1]:
            names.add(node.name)
            made.update(node.output)
    return names


def _places(model: "ModelProto") -> set[str]:
    """Names of the nodes that work on the input's size and not on its values."""
    seen = {value.name for value in model.graph.input}
    names: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "Shape" and seen.intersection(node.input):
            seen.update(node.output)
        else:
            names.add(node.name)
    return names


def _kinds(model: "ModelProto") -> dict[str, set[str]]:
    """Names of the nodes of each kind that may be left in floats.

    Whatever works on the shares that a softmax gives is of its kind: they are below one step.
    """
    kinds: dict[str, set[str]] = {}
    shares: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Softmax" or shares.intersection(node.input):
            kinds.setdefault("Softmax", set()).add(node.name)
            if node.op_type in {"Softmax", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}:
                shares.update(node.output)
        elif node.op_type in SPARABLE:
            kinds.setdefault(node.op_type, set()).add(node.name)
    return kinds


def _prepared(model: "ModelProto") -> "ModelProto":
    """The model with normalisation folded into weights and every shape known that can be."""
    import onnxruntime

    onnx = import_extra("convert", "quantising")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
        path = Path(folder) / "prepared.onnx"
        options.optimized_model_filepath = str(path)
        open_session(model, options=options)
        return onnx.shape_inference.infer_shapes(onnx.load(path))


def _output_nodes(model: "ModelProto") -> set[str]:
    """Names of the nodes from the last ones with weights to the outputs."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in WEIGHTED:
            waiting.extend(node.input)
    return found


def _ranges(histograms: dict[str, Histogram], rules: Sequence[Rule]) -> dict[str, dict[str, Range]]:
    """Of every tensor, by every rule asked for."""
    made = {}
    if "minmax" in rules:
        made["minmax"] = {name: minmax(h) for name, h in histograms.items()}
    if "percentile" in rules:
        for share in PERCENTILES:
            ranges = {name: percentile(h, share) for name, h in histograms.items()}
            made[f"percentile {share}"] = ranges
    if "entropy" in rules:
        made["entropy"] = {name: entropy(h) for name, h in histograms.items()}
    return made
