import { expect, test } from "vitest";

import { Tilt } from "../src/input/tilt";

test("however the device is held first is straight", () => {
  expect(new Tilt().read(47, -12, 0, 0)).toEqual([0, 0]);
});

test("fourteen degrees go to the limit and no further", () => {
  const tilt = new Tilt();
  tilt.read(40, 0, 0, 0);
  expect(tilt.read(40, 7, 0, 0)![0]).toBeCloseTo(0.5);
  expect(tilt.read(40, 28, 0, 0)![0]).toBe(1);
  expect(tilt.read(33, 0, 0, 0)![1]).toBeCloseTo(-0.5);
});

test("the axes turn with the screen", () => {
  const tilt = new Tilt();
  tilt.read(0, -40, 90, 0);
  expect(tilt.read(7, -40, 90, 0)).toEqual([0.5, 0]);
});

test("straight follows slowly", () => {
  const tilt = new Tilt();
  tilt.read(40, 0, 0, 0);
  let share = 0;
  for (let ms = 0; ms <= 60_000; ms += 50) share = tilt.read(40, 7, 0, ms)![0];
  expect(share).toBeLessThan(0.05);
});

test("an angle that wraps round is no movement", () => {
  const tilt = new Tilt();
  tilt.read(90, 89, 0, 0);
  expect(tilt.read(90, -89, 0, 16)).toEqual([0, 0]);
});

test("a desktop without sensors reports nothing", () => {
  expect(new Tilt().read(null, null, 0, 0)).toBeNull();
});
