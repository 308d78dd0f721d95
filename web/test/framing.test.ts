import { expect, test } from "vitest";

import { frame } from "../src/framing";

const photo = { width: 1920, height: 1080 };

test("a window of the photo's shape shows all of it", () => {
  expect(frame(photo, { width: 960, height: 540 })).toEqual({ width: 960, height: 540, scale: 0.5 });
});

test("other windows are covered, and the photo is cropped", () => {
  expect(frame(photo, { width: 1000, height: 1000 })).toEqual({
    width: 1000,
    height: 1000,
    scale: 1000 / 1080,
  });
});

test("an upright phone still sees half of a wide photo", () => {
  const framing = frame(photo, { width: 390, height: 844 });
  expect(framing.width / framing.scale).toBeCloseTo(960, 0);
  expect(framing.height).toBe(Math.round(1080 * framing.scale));
});

test("a window without size is survived", () => {
  expect(frame(photo, { width: 0, height: 0 })).toMatchObject({ width: 1, height: 1 });
});
