import { expect, test } from "vitest";

import { makeSkirt, type FrameDisparity, type Sheet } from "../src/skirt";
import type { Vector } from "../src/vector";

const photo = { width: 100, height: 80, lens: [90, 90, 50, 40] as const };
const LIMITS: Vector = [0.05, 0.05, 0.1];

function level(d: number): FrameDisparity {
  const side = () => new Float32Array(5).fill(d);
  return { top: side(), bottom: side(), left: side(), right: side() };
}

/** Where an eye at `eye` sees the vertices. */
function seen(sheet: Sheet, [ex, ey, ez]: Vector): { x: number[]; y: number[] } {
  const [fx, fy, cx, cy] = photo.lens;
  const x: number[] = [];
  const y: number[] = [];
  for (let i = 0; i < sheet.places.length; i += 3) {
    const [px, py, d] = sheet.places.slice(i, i + 3) as unknown as [number, number, number];
    x.push((px - cx - fx * ex * d) / (1 - ez * d) + cx);
    y.push((py - cy - fy * ey * d) / (1 - ez * d) + cy);
  }
  return { x, y };
}

/** Area of the triangles in square pixels. */
function area(sheet: Sheet): number {
  const { x, y } = seen(sheet, [0, 0, 0]);
  let sum = 0;
  for (let i = 0; i < sheet.indices.length; i += 3) {
    const [a, b, c] = [...sheet.indices.slice(i, i + 3)] as [number, number, number];
    sum += Math.abs((x[b]! - x[a]!) * (y[c]! - y[a]!) - (x[c]! - x[a]!) * (y[b]! - y[a]!)) / 2;
  }
  return sum;
}

test("the ring has no gap: its area is that of sheet, ring, seam and corners", () => {
  const side = 90 * 0.05 + 50 * 0.1 + 1;
  const top = 90 * 0.05 + 40 * 0.1 + 1;
  const sheetAndRing = (100 + 2 * side) * (80 + 2 * top);
  const seam = 2 * 2 * (100 + 80);
  expect(area(makeSkirt(level(1), photo, LIMITS))).toBeCloseTo(sheetAndRing + seam, 2);
});

test("from every corner of the view box it reaches beyond the frame", () => {
  const ring = makeSkirt(level(1.5), photo, LIMITS);
  for (const sx of [-1, 1]) {
    for (const sy of [-1, 1]) {
      const { x, y } = seen(ring, [sx * LIMITS[0], sy * LIMITS[1], -LIMITS[2]]);
      expect(Math.min(...x)).toBeLessThanOrEqual(0);
      expect(Math.max(...x)).toBeGreaterThanOrEqual(100);
      expect(Math.min(...y)).toBeLessThanOrEqual(0);
      expect(Math.max(...y)).toBeGreaterThanOrEqual(80);
    }
  }
});

test("what is infinitely far needs only the spare pixel", () => {
  const { x, y } = seen(makeSkirt(level(0), photo, LIMITS), [0, 0, 0]);
  expect([Math.min(...x), Math.max(...x)]).toEqual([-1, 101]);
  expect([Math.min(...y), Math.max(...y)]).toEqual([-1, 81]);
});

test("each side has its own disparity", () => {
  const frame = { ...level(0), bottom: new Float32Array([0, 0, 2, 0, 0]) };
  const { y } = seen(makeSkirt(frame, photo, LIMITS), [0, 0, 0]);
  expect(Math.max(...y)).toBeCloseTo(80 + 90 * 0.05 * 2 + 40 * 0.1 * 2 + 1, 4);
  expect(Math.min(...y)).toBe(-1);
});
