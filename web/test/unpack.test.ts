import { expect, test } from "vitest";

import type { LayerData, SceneData } from "../src/scene-data";
import { parseScene, unpackFrame, unpackPicture, unpackSheet } from "../src/unpack";

const base64 = (data: Uint16Array | Uint32Array | Float32Array) =>
  btoa(String.fromCharCode(...new Uint8Array(data.buffer)));

const layer: LayerData = {
  low: [0, 10, 0.1],
  high: [100, 60, 1.1],
  vertices: base64(new Uint16Array([0, 0, 0, 65535, 65535, 65535, 13107, 0, 32768])),
  indices: base64(new Uint16Array([0, 1, 2])),
  index_bytes: 2,
  box: [0, 10, 100, 60],
  texture: "data:image/webp;base64,AQID",
  opaque: true,
};

test("steps become pixels and disparity", () => {
  const { places, indices } = unpackSheet(layer);
  expect([...indices]).toEqual([0, 1, 2]);
  [0, 10, 0.1, 100, 60, 1.1, 20, 10, 0.6].forEach((value, i) =>
    expect(places[i]).toBeCloseTo(value, 4),
  );
});

test("indices may be wide", () => {
  const wide = { ...layer, indices: base64(new Uint32Array([0, 70000, 2])), index_bytes: 4 } as const;
  expect([...unpackSheet(wide).indices]).toEqual([0, 70000, 2]);
});

test("a texture's type and bytes come out of its URL", async () => {
  const blob = unpackPicture(layer.texture);
  expect(blob.type).toBe("image/webp");
  expect([...new Uint8Array(await blob.arrayBuffer())]).toEqual([1, 2, 3]);
});

test("an empty viewer and another format say so", () => {
  expect(() => parseScene("null")).toThrow("carries no scene");
  expect(() => parseScene('{"format": 99}')).toThrow("scene format 99");
});

test("the frame's disparity comes side by side", () => {
  const sides = [[1, 2], [3, 4], [5, 6], [7, 8]].map((side) => base64(new Float32Array(side)));
  const { top, bottom, left, right } = unpackFrame({ frame: sides } as unknown as SceneData);
  expect([top, bottom, left, right].map((side) => [...side])).toEqual([[1, 2], [3, 4], [5, 6], [7, 8]]);
});
