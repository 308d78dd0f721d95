"""OpenCV's Fast Bilateral Solver in a process of its own; run by harmonise.py.

PyPI's OpenCV is built without the solver, Debian's python3-opencv has it: run this by that Python.
Each line of the input names a file with `rgb` and `estimate`, a tab, and the file for the result. A
line of the output, `ms` and two numbers, is the time and the processor time that the filter took;
the solver itself prints lines, too.
"""

import sys
import time

import cv2
import numpy as np

SIGMA_SPATIAL, SIGMA_LUMA, SIGMA_CHROMA = 8.0, 8.0, 8.0
"""OpenCV's defaults, as are lambda = 128, 25 iterations and a tolerance of 1e-5."""


def main() -> None:
    for line in sys.stdin:
        source, target = line.rstrip("\n").split("\t")
        with np.load(source) as arrays:
            rgb, estimate = arrays["rgb"], arrays["estimate"]
        # Less confidence where the estimate climbs made its results worse.
        confidence = np.ones_like(estimate)
        guide = np.ascontiguousarray(rgb[..., ::-1])
        # It takes floats for numbers in 0..1.
        top = np.float32(max(float(estimate.max()), 1e-9))
        scaled = estimate / top
        begin, begin_cpu = time.perf_counter(), time.process_time()
        out = cv2.ximgproc.fastBilateralSolverFilter(
            guide, scaled, confidence, SIGMA_SPATIAL, SIGMA_LUMA, SIGMA_CHROMA
        )
        ms = (time.perf_counter() - begin) * 1e3
        cpu_ms = (time.process_time() - begin_cpu) * 1e3
        np.save(target, (out * top).astype(np.float32))
        sys.stdout.write(f"ms {ms} {cpu_ms}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
