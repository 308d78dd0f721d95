"""What the network is taught by; every loss is a mean over the pixels whose truth is known."""

import torch
from torch import Tensor
from torch.nn import functional

TRIM = 0.15
"""Share of the largest disparity errors of each picture that is left out."""

SCALES = 4
"""Sizes at which gradients are matched, each half the one before."""


def total(outputs: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every loss of a batch, weighted, to be added up.

    Args:
        outputs: (B, 7, H, W) float32 of the network.
        truth: disparity (B, H, W), normal (B, 3, H, W), person and edges (B, H, W) in 0..1, and
            known_disparity, known_normal, known_person, known_edges (B, H, W) bool.
    """
    disparity, normal = outputs[:, 0], outputs[:, 1:4]
    person, edges, spread = outputs[:, 4], outputs[:, 5], outputs[:, 6]
    known, target = truth["known_disparity"], truth["disparity"]
    aligned, unit = match(disparity, target, known)
    return {
        "disparity": 2.5 * trimmed_error(aligned, target, known, unit),
        "gradient": 1.0 * gradient_error(aligned, target, known, unit),
        "normal": 0.3 * normal_error(normal, truth["normal"], truth["known_normal"]),
        "person": 0.2 * mask_error(person, truth["person"], truth["known_person"], 1.0),
        "edges": 0.2 * mask_error(edges, truth["edges"], truth["known_edges"], 4.0),
        "spread": 0.05 * spread_error(spread, (aligned - target).detach() / unit, known),
    }


def match(disparity: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The prediction (B, H, W) moved and scaled to the target's, and that one's spread (B, 1, 1).

    By weighted least squares, the weights falling where the target is near: depth's relative error
    is disparity's error over disparity.
    """
    weight = known.float()
    count = weight.sum((1, 2), keepdim=True).clamp(min=1)
    mean = (target * weight).sum((1, 2), keepdim=True) / count
    unit = ((target - mean).abs() * weight).sum((1, 2), keepdim=True) / count + 1e-3
    weight = weight / (target + 0.3 * mean.clamp(min=1e-3)).clamp(min=1e-3)
    mass = weight.sum((1, 2), keepdim=True).clamp(min=1e-6)
    p_mean = (disparity * weight).sum((1, 2), keepdim=True) / mass
    q_mean = (target * weight).sum((1, 2), keepdim=True) / mass
    p, q = disparity - p_mean, target - q_mean
    variance = (weight * p * p).sum((1, 2), keepdim=True) / mass
    scale = (weight * p * q).sum((1, 2), keepdim=True) / mass / (variance + 1e-4)
    return scale.clamp(min=1e-2) * p + q_mean, unit


def trimmed_error(aligned: Tensor, target: Tensor, known: Tensor, unit: Tensor) -> Tensor:
    """Absolute error over (disparity + half its mean), without each picture's largest (MiDaS)."""
    floor = (
        0.5
        * (target * known).sum((1, 2), keepdim=True)
        / known.sum((1, 2), keepdim=True).clamp(min=1)
    )
    error = (aligned - target).abs() / (target + floor + 0.1 * unit)
    flat = torch.where(known, error, torch.nan).flatten(1)
    limit = torch.nanquantile(flat[:, :: max(1, flat.shape[1] // 2048)], 1 - TRIM, dim=1)
    kept = known & (error <= limit.nan_to_num(0)[:, None, None])
    return _mean(error, kept)


def gradient_error(aligned: Tensor, target: Tensor, known: Tensor, unit: Tensor) -> Tensor:
    """Differences of neighbours' errors at several scales (Li and Snavely, 2018)."""
    error = (aligned - target) / unit
    losses = []
    for level in range(SCALES):
        step = 2**level
        e, k = error[:, ::step, ::step], known[:, ::step, ::step]
        losses.append(
            _mean((e[:, :, 1:] - e[:, :, :-1]).abs().clamp(max=4), k[:, :, 1:] & k[:, :, :-1])
        )
        losses.append(_mean((e[:, 1:] - e[:, :-1]).abs().clamp(max=4), k[:, 1:] & k[:, :-1]))
    return torch.stack(losses).mean()


def normal_error(normal: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """1 - cosine."""
    return _mean(1 - functional.cosine_similarity(normal, target, dim=1, eps=1e-4), known)


def mask_error(logit: Tensor, target: Tensor, known: Tensor, positive: float) -> Tensor:
    """Binary cross entropy, with the positive class weighted, plus Dice."""
    weight = torch.tensor(positive, device=logit.device)
    entropy = functional.binary_cross_entropy_with_logits(
        logit, target, pos_weight=weight, reduction="none"
    )
    share, k = torch.sigmoid(logit), known.float()
    both = (share * target * k).sum((1, 2))
    either = ((share * share + target * target) * k).sum((1, 2))
    dice = 1 - (2 * both + 50) / (either + 50)
    return _mean(entropy, known) + dice.mean()


def spread_error(spread: Tensor, error: Tensor, known: Tensor) -> Tensor:
    """Negative log likelihood of the error under a Laplace distribution (Kendall and Gal, 2017)."""
    spread = spread.clamp(-5, 3)
    return _mean(error.abs().clamp(max=5) * torch.exp(-spread) + spread, known)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp(min=1)
