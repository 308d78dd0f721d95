// Generated from src/diorama/viewer/messages.py by `npm run types`: change it there.

/** One layer: triangles in photo pixels and disparity, and the texture they wear. */
export interface LayerData {
  /** What step 0 of a vertex means: x and y in photo pixels, disparity in 1 / scene unit. */
  readonly low: readonly [number, number, number];
  /** What step 65535 means. */
  readonly high: readonly [number, number, number];
  /** Base64 of little-endian uint16 (n, 3): steps between `low` and `high`. */
  readonly vertices: string;
  /** Base64 of little-endian unsigned integers (m, 3), clockwise on screen. */
  readonly indices: string;
  /** Bytes an index takes. */
  readonly index_bytes: 2 | 4;
  /** Left, top, right, bottom of the texture in photo pixels. */
  readonly box: readonly [number, number, number, number];
  /** The texture as a data URL; alpha is straight. */
  readonly texture: string;
  /** True if no texel is transparent. */
  readonly opaque: boolean;
}

/** A scene as the viewer shows it. */
export interface SceneData {
  /** Version of this block. */
  readonly format: number;
  /** The photo's name. */
  readonly name: string;
  /** Of the photo at processing size, in pixels. */
  readonly width: number;
  /** Of the photo at processing size, in pixels. */
  readonly height: number;
  /** fx, fy, cx, cy of the photo's camera in pixels, pixel centres at +0.5. */
  readonly lens: readonly [number, number, number, number];
  /** Half sizes of where the eye may go: right, down, forward, in scene units. */
  readonly view_box: readonly [number, number, number];
  /** Base64 of little-endian float32: disparity along the photo's top, bottom, left and right, evenly spaced from corner to corner; the viewer continues the photo from it. */
  readonly frame: readonly [string, string, string, string];
  /** Back to front. */
  readonly layers: readonly LayerData[];
  /** True if the photo is transparent somewhere: nothing is put behind it or around it. */
  readonly cut_out: boolean;
}
