import { expect, test } from "vitest";

import { frame } from "../src/framing";

const photo = { width: 1920, height: 1080 };

test("a window of the photo's shape shows all of it", () => {
  expect(frame(photo, { width: 960, height: 540 })).toEqual({ width: 960, height: 540, scale: 0.5 });
});

test("a window of about that shape is covered, and the photo is cropped", () => {
  expect(frame(photo, { width: 1600, height: 1000 })).toEqual({
    width: 1600,
    height: 1000,
    scale: 1000 / 1080,
  });
});

test("other windows show the whole photo", () => {
  expect(frame(photo, { width: 390, height: 844 })).toMatchObject({ width: 390, height: 219 });
  expect(frame(photo, { width: 3440, height: 1000 })).toMatchObject({ width: 1778, height: 1000 });
});

test("a window without size is survived", () => {
  expect(frame(photo, { width: 0, height: 0 })).toMatchObject({ width: 1, height: 1 });
});

test("a frame in another page is covered, whatever that cuts off", () => {
  expect(frame(photo, { width: 390, height: 844 }, true)).toEqual({
    width: 390,
    height: 844,
    scale: 844 / 1080,
  });
  expect(frame(photo, { width: 3440, height: 1000 }, true)).toMatchObject({
    width: 3440,
    height: 1000,
    scale: 3440 / 1920,
  });
});
