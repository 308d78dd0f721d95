import { expect, test } from "vitest";

import { withSkirt, type Sheet } from "../src/skirt";
import type { Vector } from "../src/vector";

const photo = { width: 100, height: 80, lens: [90, 90, 50, 40] as const };
const LIMITS: Vector = [0.05, 0.05, 0.1];

/** A rectangle of two triangles at one disparity. */
function rectangle(left: number, top: number, right: number, bottom: number, d: number): Sheet {
  return {
    places: new Float32Array([left, top, d, right, top, d, right, bottom, d, left, bottom, d]),
    indices: new Uint32Array([0, 1, 2, 0, 2, 3]),
  };
}

/** Area of the triangles, in square pixels, as seen by an eye at `eye`; negative parts fold back. */
function seenArea(sheet: Sheet, [ex, ey, ez]: Vector): number {
  const at = (v: number): [number, number] => {
    const [x, y, d] = sheet.places.slice(3 * v, 3 * v + 3) as unknown as [number, number, number];
    const [fx, fy, cx, cy] = photo.lens;
    const w = 1 - ez * d;
    return [(x - cx - fx * ex * d) / w + cx, (y - cy - fy * ey * d) / w + cy];
  };
  let area = 0;
  for (let i = 0; i < sheet.indices.length; i += 3) {
    const [a, b, c] = [0, 1, 2].map((k) => at(sheet.indices[i + k]!)) as [number, number][];
    area += Math.abs((b![0] - a![0]) * (c![1] - a![1]) - (c![0] - a![0]) * (b![1] - a![1])) / 2;
  }
  return area;
}

test("a sheet inside the frame stays as it is", () => {
  const sheet = rectangle(10, 10, 60, 60, 1);
  expect(withSkirt(sheet, photo, LIMITS)).toEqual(sheet);
});

test("a full sheet grows on every side by what the view box can see", () => {
  const grown = withSkirt(rectangle(0, 0, 100, 80, 1), photo, LIMITS);
  const x = grown.places.filter((_, i) => i % 3 === 0);
  const y = grown.places.filter((_, i) => i % 3 === 1);
  const side = 90 * 0.05 + 50 * 0.1 + 1;
  const top = 90 * 0.05 + 40 * 0.1 + 1;
  expect([Math.min(...x), Math.max(...x)]).toEqual([-side, 100 + side]);
  expect([Math.min(...y), Math.max(...y)]).toEqual([-top, 80 + top]);
  // Strips and corners fill the larger rectangle once: no gap, no overlap.
  expect(seenArea(grown, [0, 0, 0])).toBeCloseTo((100 + 2 * side) * (80 + 2 * top), 3);
});

test("from every corner of the view box the frame is covered", () => {
  const grown = withSkirt(rectangle(0, 0, 100, 80, 1.5), photo, LIMITS);
  for (const sx of [-1, 1]) {
    for (const sy of [-1, 1]) {
      const eye: Vector = [sx * LIMITS[0], sy * LIMITS[1], -LIMITS[2]];
      const [fx, fy, cx, cy] = photo.lens;
      const w = 1 - eye[2] * 1.5;
      const x = [...grown.places.filter((_, i) => i % 3 === 0)].map(
        (value) => (value - cx - fx * eye[0] * 1.5) / w + cx,
      );
      const y = [...grown.places.filter((_, i) => i % 3 === 1)].map(
        (value) => (value - cy - fy * eye[1] * 1.5) / w + cy,
      );
      expect(Math.min(...x)).toBeLessThanOrEqual(0);
      expect(Math.max(...x)).toBeGreaterThanOrEqual(100);
      expect(Math.min(...y)).toBeLessThanOrEqual(0);
      expect(Math.max(...y)).toBeGreaterThanOrEqual(80);
    }
  }
});

test("what is infinitely far needs only its pixel", () => {
  const grown = withSkirt(rectangle(0, 0, 100, 80, 0), photo, LIMITS);
  expect(Math.min(...grown.places)).toBe(-1);
});
