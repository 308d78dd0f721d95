import type { Vector } from "./vector";

/** A layer's triangles; each vertex is (x, y) in photo pixels and a disparity. */
export interface Sheet {
  readonly places: Float32Array;
  readonly indices: Uint32Array;
}

export interface Lens {
  readonly width: number;
  readonly height: number;
  /** fx, fy, cx, cy in pixels. */
  readonly lens: readonly [number, number, number, number];
}

/** Vertices this close to the photo's frame lie on it, in pixels. */
const ON_FRAME_PX = 0.51;

/**
 * Continue a sheet beyond the photo's frame, as far as the view box can see past it.
 *
 * A moved eye looks past the frame's edge. Triangle edges on the frame get a strip outside it at
 * their own disparity d; the shader mirrors the texture there. A point on the left edge x must reach
 * ``(x' + fx sx d) / (1 + sz d) <= x``, so the strip is ``fx sx d + |x - cx| sz d`` wide.
 */
export function withSkirt(sheet: Sheet, photo: Lens, limits: Vector): Sheet {
  const places = Array.from(sheet.places);
  const indices = Array.from(sheet.indices);
  const [fx, fy, cx, cy] = photo.lens;
  const extended = new Map<string, number>();

  const side = (at: number, end: number) => (at <= ON_FRAME_PX ? -1 : at >= end - ON_FRAME_PX ? 1 : 0);
  const across = (v: number) => side(sheet.places[3 * v]!, photo.width);
  const down = (v: number) => side(sheet.places[3 * v + 1]!, photo.height);

  /** The vertex `v` pushed out of the frame along x, y or both. */
  const outside = (v: number, alongX: number, alongY: number): number => {
    const key = `${v},${alongX},${alongY}`;
    const known = extended.get(key);
    if (known !== undefined) return known;
    const x = sheet.places[3 * v]!;
    const y = sheet.places[3 * v + 1]!;
    const d = sheet.places[3 * v + 2]!;
    const outX = alongX * (fx * limits[0] * d + Math.abs(x - cx) * limits[2] * d + 1);
    const outY = alongY * (fy * limits[1] * d + Math.abs(y - cy) * limits[2] * d + 1);
    places.push(x + outX, y + outY, d);
    extended.set(key, places.length / 3 - 1);
    return places.length / 3 - 1;
  };

  const strip = (a: number, b: number, alongX: number, alongY: number) => {
    const outA = outside(a, alongX, alongY);
    const outB = outside(b, alongX, alongY);
    indices.push(a, outA, b, b, outA, outB);
  };

  const cornered = new Set<number>();
  for (let i = 0; i < sheet.indices.length; i += 1) {
    const a = sheet.indices[i]!;
    const b = sheet.indices[i % 3 === 2 ? i - 2 : i + 1]!;
    const x = across(a);
    const y = down(a);
    if (x !== 0 && x === across(b)) strip(a, b, x, 0);
    if (y !== 0 && y === down(b)) strip(a, b, 0, y);
    if (x !== 0 && y !== 0 && !cornered.has(a)) {
      cornered.add(a);
      const corner = outside(a, x, y);
      indices.push(a, outside(a, x, 0), corner, a, corner, outside(a, 0, y));
    }
  }
  return { places: new Float32Array(places), indices: new Uint32Array(indices) };
}
