"""Figure of docs/embedded-network.md: the error on what training never saw, over its steps."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 20, 44
CURVES = {"val_pool": ("drawn worlds", (180, 90, 30)), "val_real": ("measured", (40, 110, 220))}
ERRORS = 0.07, 0.1, 0.2, 0.3, 0.5
GREY, PALE = (60, 60, 60), (225, 225, 225)


def main() -> None:
    with (ROOT / "benchmarks" / "results" / "embedded-training.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    last = rows[-1]["step"]
    low, high = math.log(ERRORS[0]), math.log(ERRORS[-1])

    def at(step: float, error: float) -> tuple[int, int]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        up = (math.log(min(error, ERRORS[-1])) - low) / (high - low)
        return round(across), round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * up)

    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for error in ERRORS:
        cv2.line(picture, at(0, error), at(last, error), PALE, 1)
        write(picture, f"{error:g}", (16, at(0, error)[1] + 5), GREY)
    for step in range(0, int(last) + 1, 5000):
        write(picture, f"{step:,}", (at(step, error)[0] - 18, HEIGHT - 18), GREY)
    for name, (title, color) in CURVES.items():
        points = [at(row["step"], row[name]) for row in rows]
        cv2.polylines(picture, [np.array(points, np.int32)], False, color, 2, cv2.LINE_AA)
        x, y = points[len(points) // 2]
        write(picture, title, (x - 40, y - 14), color)
    cv2.imwrite(str(ROOT / "docs" / "images" / "embedded-curve.png"), picture)


def write(picture: np.ndarray, text: str, where: tuple[int, int], color: tuple[int, ...]) -> None:
    """Put a text into the picture."""
    cv2.putText(picture, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
