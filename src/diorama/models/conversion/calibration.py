"""Which values the tensors of a model take on photos, and which range of them 8 bits should cover.

A range that holds every value wastes steps on outliers; a narrower one clips them. Three rules:

- minmax: everything that was seen;
- percentile: all but a share of the values, divided among both ends;
- entropy: the range whose 8-bit histogram tells least apart from the full one, by the divergence of
  Kullback and Leibler (Migacz, "8-bit inference with TensorRT", 2017).

Photos are run one at a time and only histograms are kept, so that many of them, of any sizes, fit
into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from diorama.arrays import Array
from diorama.extras import import_extra
from diorama.models.conversion.sessions import run_photos
from diorama.runtime import open_session

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

Rule = Literal["minmax", "percentile", "entropy"]

PERCENTILES = (99.9, 99.99, 99.999)
"""Shares of the values in percent that the percentile rule keeps; each is tried."""

BINS = 2048
"""Of a histogram over everything that was seen."""

SAMPLE = 1 << 16
"""Values of a tensor of one photo, evenly spread, that a histogram counts; extremes are exact."""

STEPS = 256
"""Of 8 bits."""


@dataclass(frozen=True)
class Histogram:
    """How often a tensor took which values."""

    low: float
    high: float
    """The least and the largest, with zero among them: zero must stay exact."""
    counts: Array
    """(BINS,) int64."""


Range = tuple[float, float]


def collect(model: "ModelProto", tensors: Sequence[Array]) -> dict[str, Histogram]:
    """Histograms of every float tensor of the model, its input included, over the photos."""
    names, session = _opened(model)
    inside = names[1:]
    lows, highs = np.zeros(len(names)), np.zeros(len(names))
    for tensor in tensors:
        values = [tensor, *run_photos(session, [tensor], inside)[0]]
        lows = np.minimum(lows, [v.min(initial=0) for v in values])
        highs = np.maximum(highs, [v.max(initial=0) for v in values])
    highs = np.where(highs > lows, highs, lows + 1e-6)
    counts = np.zeros((len(names), BINS), np.int64)
    for tensor in tensors:
        for k, v in enumerate([tensor, *run_photos(session, [tensor], inside)[0]]):
            sample = v.ravel()[:: max(1, v.size // SAMPLE)]
            counts[k] += np.histogram(sample, BINS, (lows[k], highs[k]))[0]
    return {
        name: Histogram(float(lows[k]), float(highs[k]), counts[k]) for k, name in enumerate(names)
    }


def minmax(histogram: Histogram) -> Range:
    """Everything that was seen."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram, share: float) -> Range:
    """All but `100 - share` percent of the values, as many of the rest at either end."""
    seen = np.cumsum(histogram.counts)
    outside = (100 - share) / 200 * seen[-1]
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    first = int(np.searchsorted(seen, outside, side="right"))
    last = int(np.searchsorted(seen, seen[-1] - outside))
    return min(0.0, float(edges[min(first, BINS - 1)])), max(0.0, float(edges[last + 1]))


def entropy(histogram: Histogram) -> Range:
    """The range -t..t, within what was seen, whose 8 bits lose least information."""
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    centres = np.abs((edges[1:] + edges[:-1]) / 2)
    largest = max(-histogram.low, histogram.high)
    folded = np.bincount(
        np.minimum((centres / largest * BINS).astype(np.int64), BINS - 1),
        weights=histogram.counts,
        minlength=BINS,
    )
    folded[0] = 0  # zeros are exact in any range, and what ReLU leaves is mostly zeros
    levels = STEPS // 2 if histogram.low < 0 < histogram.high else STEPS
    kept = range(levels, BINS + 1, levels // 8)
    divergences = [_divergence(folded, k, levels) for k in kept]
    limit = kept[int(np.argmin(divergences))] / BINS * largest
    return max(histogram.low, -limit), min(histogram.high, limit)


def _divergence(counts: Array, kept: int, levels: int) -> float:
    """Of Kullback and Leibler, between `kept` clipped bins and `levels` steps of them."""
    clipped = counts[:kept].astype(np.float64)
    level = np.arange(kept) * levels // kept
    occupied = clipped > 0
    total = np.bincount(level, clipped, levels)
    filled = np.bincount(level, occupied, levels)
    spread = np.where(occupied, (total / np.maximum(filled, 1))[level], 0.0)
    clipped[-1] += counts[kept:].sum()
    if not spread.any():
        return np.inf
    p, q = clipped / clipped.sum(), spread / spread.sum()
    where = p > 0
    return float((p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))).sum())


def _opened(model: "ModelProto") -> tuple[list[str], "InferenceSession"]:
    """The input's and every float tensor's name, and a session that gives out all but the first."""
    import onnxruntime

    onnx = import_extra("convert", "calibrating")
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    made = {name for node in graph.node for name in node.output}
    known = {output.name for output in graph.output}
    values = [v for v in (*graph.value_info, *graph.output) if v.name in made]
    floats = [v for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    graph.output.extend(v for v in floats if v.name not in known)
    options = onnxruntime.SessionOptions()
    # What is fused has no values of its own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(inferred, options=options)
    return [session.get_inputs()[0].name, *(v.name for v in floats)], session
