import type { LayerData, SceneData } from "./scene-data";
import type { FrameDisparity, Sheet } from "./skirt";

/** What this viewer can read. */
const FORMAT = 1;

/** Read the scene that the page carries. */
export function parseScene(text: string): SceneData {
  const data = JSON.parse(text) as SceneData | null;
  if (data === null) throw new Error("This page is the empty viewer: it carries no scene.");
  if (data.format !== FORMAT) {
    throw new Error(`This page holds scene format ${data.format}; its viewer reads ${FORMAT}.`);
  }
  return data;
}

/** A layer's triangles, from 16-bit steps between `low` and `high` back to pixels and disparity. */
export function unpackSheet(layer: LayerData): Sheet {
  const steps = new Uint16Array(bytes(layer.vertices));
  const places = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i += 1) {
    const axis = (i % 3) as 0 | 1 | 2;
    const low = layer.low[axis];
    places[i] = low + ((layer.high[axis] - low) * steps[i]!) / 65535;
  }
  const packed = bytes(layer.indices);
  const indices = layer.index_bytes === 2 ? new Uint16Array(packed) : new Uint32Array(packed);
  return { places, indices: Uint32Array.from(indices) };
}

/** Disparity along the photo's sides. */
export function unpackFrame(data: SceneData): FrameDisparity {
  const [top, bottom, left, right] = data.frame;
  const floats = (base64: string) => new Float32Array(bytes(base64));
  return { top: floats(top), bottom: floats(bottom), left: floats(left), right: floats(right) };
}

/** The picture of a data URL as a blob (no request is made). */
export function unpackPicture(url: string): Blob {
  const [head, body] = url.split(",", 2) as [string, string];
  return new Blob([bytes(body)], { type: head.slice("data:".length).split(";")[0]! });
}

function bytes(base64: string): ArrayBuffer {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) out[i] = text.charCodeAt(i);
  return out.buffer;
}
