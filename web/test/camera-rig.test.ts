import { describe, expect, test } from "vitest";

import { CameraRig } from "../src/camera-rig";
import type { Vector } from "../src/vector";

const LIMITS: Vector = [0.03, 0.02, 0.05];

/** Let time pass in frames, and return every place the eye was at. */
function pass(rig: CameraRig, seconds: number): Vector[] {
  const places: Vector[] = [];
  for (let t = 0; t < seconds; t += 1 / 60) {
    rig.step(1 / 60);
    places.push(rig.eye);
  }
  return places;
}

const calm = () => new CameraRig(LIMITS, true);

describe("input", () => {
  test("moves the eye by shares of the view box, gliding", () => {
    const rig = calm();
    rig.move([0.5, -0.5, 1]);
    rig.step(1 / 60);
    expect(rig.eye[0]).toBeGreaterThan(0);
    expect(rig.eye[0]).toBeLessThan(0.015);
    pass(rig, 2);
    expect(rig.eye).toEqual([0.015, -0.01, 0.05]);
  });

  test("never leaves the view box", () => {
    const rig = calm();
    for (let i = 0; i < 50; i += 1) rig.move([-1, 1, -1]);
    for (const eye of pass(rig, 2)) {
      eye.forEach((value, i) => expect(Math.abs(value)).toBeLessThanOrEqual(LIMITS[i]!));
    }
    expect(rig.eye).toEqual([-0.03, 0.02, -0.05]);
  });

  test("reset glides back to the photo's camera", () => {
    const rig = calm();
    rig.place([0.03, 0.02, 0.05]);
    rig.reset();
    pass(rig, 2);
    expect(rig.eye).toEqual([0, 0, 0]);
  });

  test("tilt adds to where the hand has put it", () => {
    const rig = calm();
    rig.move([0.25, 0, 0]);
    rig.tilt(0.5, -1);
    pass(rig, 2);
    expect(rig.eye[0]).toBeCloseTo(0.0225, 6);
    expect(rig.eye[1]).toBeCloseTo(-0.02, 6);
  });

  test("a view box without height stays level", () => {
    const rig = new CameraRig([0.03, 0, 0], false);
    rig.move([1, 1, 1]);
    for (const eye of pass(rig, 12)) expect(eye.slice(1).map(Math.abs)).toEqual([0, 0]);
  });
});

describe("rest and sway", () => {
  test("a calm rig rests when it has arrived, so that nothing is drawn", () => {
    const rig = calm();
    rig.move([1, 0, 0]);
    expect(rig.step(1 / 60)).toBe(true);
    pass(rig, 2);
    expect(rig.step(1 / 60)).toBe(false);
  });

  test("a fresh page soon begins to sway, without a jump", () => {
    const rig = new CameraRig(LIMITS, false);
    const places = pass(rig, 10);
    expect(Math.max(...places.map((eye) => Math.abs(eye[0])))).toBeGreaterThan(0.4 * LIMITS[0]);
    for (let i = 1; i < places.length; i += 1) {
      expect(Math.abs(places[i]![0] - places[i - 1]![0])).toBeLessThan(0.02 * LIMITS[0]);
    }
  });

  test("input ends the sway where it is, and it comes back only after a pause", () => {
    const rig = new CameraRig(LIMITS, false);
    pass(rig, 4);
    rig.move([0, 0, 0]);
    const before = rig.eye;
    pass(rig, 4);
    expect(Math.abs(rig.eye[0] - before[0])).toBeLessThan(0.01 * LIMITS[0]);
    const later = pass(rig, 4).map((eye) => Math.abs(eye[0] - before[0]));
    expect(Math.max(...later)).toBeGreaterThan(0.05 * LIMITS[0]);
  });
});

test("a frozen rig ignores input but can be placed, inside the view box", () => {
  const rig = new CameraRig(LIMITS, false);
  rig.frozen = true;
  rig.move([1, 1, 1]);
  rig.tilt(1, 1);
  expect(rig.step(10)).toBe(false);
  expect(rig.eye).toEqual([0, 0, 0]);
  rig.place([1, 0.01, -1]);
  expect(rig.eye).toEqual([0.03, 0.01, -0.05]);
});
