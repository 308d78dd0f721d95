"""How time and memory of every stage grow with the photo, 0.25 to 24 megapixels.

One fresh process a size, with a warm kernel cache, makes a scene of the same photo at full size
(`max_size` and `texture_size` are its long side), its meshes, a rendered frame and a page, as in
``stages.py``. A first process compiles. ``ms_N`` and ``mb_N`` are the time and the resident peak at
N megapixels; linear cost is a constant ``ms_N / N``.
"""

import math
import tempfile
from pathlib import Path

import common
from stages import choose, in_fresh_process, write_photo

MEGAPIXELS = (0.25, 0.5, 1, 2, 4, 8, 12, 24)


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    result = common.Result("sizes")
    source = choose(args.data)
    metrics: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        write_photo(source, photo, 480, 320)
        in_fresh_process(photo, 480, 1, cache)
        for megapixels in MEGAPIXELS[:4] if args.quick else MEGAPIXELS:
            width = round(math.sqrt(megapixels * 1e6 * 3 / 2))
            write_photo(source, photo, width, round(width * 2 / 3))
            for stage, measured in in_fresh_process(photo, width, 1, cache).items():
                row = metrics.setdefault(stage, {})
                row[f"ms_{megapixels:g}"] = measured["ms"]
                row[f"mb_{megapixels:g}"] = measured["peak_mb"]
    for stage, row in metrics.items():
        by_unit = sorted(row, key=lambda name: name.startswith("mb"))
        result.add(source.name, stage, {name: row[name] for name in by_unit})
    result.finish(args)


if __name__ == "__main__":
    main()
