"""How time and memory of every stage grow with the photo, 0.25 to 24 megapixels.

One fresh process a size, with a warm kernel cache, makes a scene of the same photo at full size
(`max_size` and `texture_size` are its long side), its meshes, a rendered frame and a page, as in
``stages.py``. A first process compiles. A row a size, each of photo to scene, import included:
``ms``, ``cpu_ms`` summed over threads, ``cpu_ms_per_mp`` less what the smallest size took anyway,
which is constant where cost is linear, and ``peak_mb``; then the CPU time and the resident peak of
every stage.
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
    base = None
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        # Large enough to meet every kernel.
        write_photo(source, photo, 1500, 1000)
        in_fresh_process(photo, 1500, 1, cache)
        for megapixels in MEGAPIXELS[:4] if args.quick else MEGAPIXELS:
            width = round(math.sqrt(megapixels * 1e6 * 3 / 2))
            write_photo(source, photo, width, round(width * 2 / 3))
            stages = in_fresh_process(photo, width, 1, cache)
            scene = stages.pop("scene")
            base = base or (megapixels, scene["cpu_ms"])
            metrics = dict(scene)
            if megapixels > base[0]:
                more = scene["cpu_ms"] - base[1]
                metrics["cpu_ms_per_mp"] = more / (megapixels - base[0])
            for name in ("cpu_ms", "peak_mb"):
                metrics |= {f"{stage}.{name}": measured[name] for stage, measured in stages.items()}
            result.add(source.name, f"{megapixels:g} MP", metrics)
    result.finish(args)


if __name__ == "__main__":
    main()
