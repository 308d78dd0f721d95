/** A place or a step: x right, y down, z forward, in scene units (OpenCV's axes). */
export type Vector = readonly [x: number, y: number, z: number];

export const ORIGIN: Vector = [0, 0, 0];

/** `a + factor * b`. */
export function plus(a: Vector, b: Vector, factor = 1): Vector {
  return [a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]];
}

/** The point `share` of the way from `a` to `b`. */
export function mix(a: Vector, b: Vector, share: number): Vector {
  return plus(a, plus(b, a, -1), share);
}

/** `a` kept inside the box of these half sizes around the origin. */
export function clamp(a: Vector, half: Vector): Vector {
  const keep = (value: number, limit: number) => Math.min(limit, Math.max(-limit, value));
  return [keep(a[0], half[0]), keep(a[1], half[1]), keep(a[2], half[2])];
}

/** The largest component of `a - b`, each measured in `unit`s (0 where the unit is 0). */
export function distance(a: Vector, b: Vector, unit: Vector): number {
  const along = (i: 0 | 1 | 2) => (unit[i] > 0 ? Math.abs(a[i] - b[i]) / unit[i] : 0);
  return Math.max(along(0), along(1), along(2));
}
