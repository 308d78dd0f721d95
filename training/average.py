"""Average the weights of two networks of one lineage.

    python -m training.average OLDER NEWER --share 0.7 --out FILE

Weights that training has reached from one another lie in one valley, and between them there is
often a better place than either (Wortsman et al., "Model soups", 2022): it knows the newer samples,
has not forgotten the older ones, and is flatter, so that 8 bits change less.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.train import halved, save


def average(
    older: Mapping[str, Tensor], newer: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Both weights' mean; counters are the newer's.

    Args:
        older: by name.
        newer: the same names and shapes.
        share: of the newer, 0..1.
    """
    return {
        name: older[name].float().lerp(value.float(), share)
        if value.dtype.is_floating_point
        else value
        for name, value in newer.items()
    }


def main() -> None:
    """Read two files of weights and write a third."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("older", type=Path)
    parser.add_argument("newer", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the newer one")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    states = [torch.load(path, weights_only=True) for path in (args.older, args.newer)]
    mean = average(states[0]["net"], states[1]["net"], args.share)
    save(args.out, {"net": halved(mean), "step": states[1]["step"]})


if __name__ == "__main__":
    main()
