import type { Vector } from "./vector";

/** Triangles; each vertex is (x, y) in photo pixels and a disparity. */
export interface Sheet {
  readonly places: Float32Array;
  readonly indices: Uint32Array;
}

/** Disparity along the photo's four sides, evenly spaced from corner to corner. */
export interface FrameDisparity {
  readonly top: Float32Array;
  readonly bottom: Float32Array;
  readonly left: Float32Array;
  readonly right: Float32Array;
}

export interface Lens {
  readonly width: number;
  readonly height: number;
  /** fx, fy, cx, cy in pixels. */
  readonly lens: readonly [number, number, number, number];
}

/** The skirt begins this far inside the frame, behind the layers: no seam where it joins them. */
const INSIDE_PX = 2;
/** It ends this much beyond what can be seen. */
const SPARE_PX = 1;

/**
 * A ring around the photo, as wide as the view box can see past the frame, and a sheet behind it.
 *
 * A point of disparity d on the left edge x shows what lies outside it unless some skirt point x'
 * reaches ``(x' - cx + fx sx d) / (1 + sz d) <= x - cx``, so the ring is
 * ``fx sx d + |x - cx| sz d`` wide there. It has the disparity of the frame next to it and shows the
 * photo's mirror image. The sheet is infinitely far, so it stays where the photo is: a crack between
 * layers shows the photo and not the page.
 */
export function makeSkirt(frame: FrameDisparity, photo: Lens, limits: Vector): Sheet {
  const { width, height } = photo;
  const [fx, fy, cx, cy] = photo.lens;
  const places: number[] = [];
  const indices: number[] = [];

  const vertex = (x: number, y: number, d: number): number => {
    places.push(x, y, d);
    return places.length / 3 - 1;
  };
  const reachX = (x: number, d: number) =>
    fx * limits[0] * d + Math.abs(x - cx) * limits[2] * d + SPARE_PX;
  const reachY = (y: number, d: number) =>
    fy * limits[1] * d + Math.abs(y - cy) * limits[2] * d + SPARE_PX;
  const quad = (a: number, b: number, c: number, d: number) => indices.push(a, b, c, c, b, d);

  quad(vertex(0, 0, 0), vertex(width, 0, 0), vertex(0, height, 0), vertex(width, height, 0));
  for (const [x, out, values] of [[0, -1, frame.left], [width, 1, frame.right]] as const) {
    let before: [number, number] | null = null;
    values.forEach((d, i) => {
      const y = (height * i) / (values.length - 1);
      const pair: [number, number] = [
        vertex(x - out * INSIDE_PX, y, d),
        vertex(x + out * reachX(x, d), y, d),
      ];
      if (before) quad(...before, ...pair);
      before = pair;
    });
  }
  for (const [y, out, values] of [[0, -1, frame.top], [height, 1, frame.bottom]] as const) {
    let before: [number, number] | null = null;
    values.forEach((d, i) => {
      const x = (width * i) / (values.length - 1);
      const pair: [number, number] = [
        vertex(x, y - out * INSIDE_PX, d),
        vertex(x, y + out * reachY(y, d), d),
      ];
      if (before) quad(...before, ...pair);
      before = pair;
    });
    for (const [x, outX, d] of [[0, -1, values[0]!], [width, 1, values.at(-1)!]] as const) {
      const farX = x + outX * reachX(x, d);
      const farY = y + out * reachY(y, d);
      quad(vertex(x, y, d), vertex(farX, y, d), vertex(x, farY, d), vertex(farX, farY, d));
    }
  }
  return { places: new Float32Array(places), indices: new Uint32Array(indices) };
}
