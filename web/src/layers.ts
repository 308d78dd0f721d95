import {
  BufferAttribute,
  BufferGeometry,
  Camera,
  CustomBlending,
  DoubleSide,
  GLSL3,
  LinearFilter,
  LinearMipmapLinearFilter,
  Mesh,
  NoBlending,
  OneFactor,
  OneMinusSrcAlphaFactor,
  RawShaderMaterial,
  Scene,
  Texture,
  Vector3,
  Vector4,
  type WebGLRenderer,
  WebGLRenderTarget,
} from "three";

import type { Framing } from "./framing";
import type { LayerData, SceneData } from "./scene-data";
import { makeSkirt, type Sheet } from "./skirt";
import { unpackFrame, unpackPicture, unpackSheet } from "./unpack";
import { ORIGIN, type Vector } from "./vector";

/** Layers meet where they are equally far (feet on a floor), and meshes only come near their depth.
 * So a layer is hidden only where it lies behind an earlier one by more than this many photo pixels
 * of sideways parallax at the view box's limit. */
const TIE_PX = 1;

/*
 * A vertex is (x, y, d): photo pixel and disparity. Seen by an eye at e,
 *
 *     x' = (x - fx ex d) / (1 - ez d)
 *
 * so with w = 1 - ez d as the homogeneous coordinate a photo pixel is interpolated exactly as the
 * photo was projected: no stretch and no swimming inside a slanted triangle, and d = 0 needs no
 * special case. Depth is 1 - 2 near d', which is affine on screen.
 */
const VERTEX = `
  in vec3 position;
  uniform vec4 lens;
  uniform vec3 eye;
  uniform vec4 window;
  uniform float near;
  uniform float lift;
  out vec2 pixel;
  void main() {
    float d = position.z;
    float w = 1.0 - eye.z * d;
    vec2 seen = position.xy - lens.zw - lens.xy * eye.xy * d + (lens.zw - window.xy) * w;
    gl_Position = vec4(seen * window.zw, w - 2.0 * near * (d + lift * w), w);
    pixel = position.xy;
  }
`;

/*
 * Textures hold premultiplied sRGB bytes, so filtering mixes no colour from under alpha 0 and the
 * canvas gets the photo's own values: no tone curve anywhere. Beyond the frame the photo is mirrored.
 */
const FRAGMENT = `
  precision highp float;
  uniform sampler2D map;
  uniform vec2 size;
  uniform vec4 cut;
  in vec2 pixel;
  out vec4 color;
  void main() {
    vec2 at = size - abs(size - abs(pixel));
    // Half a level sharper than the average footprint: photos look soft otherwise.
    color = texture(map, (at - cut.xy) * cut.zw, -0.5);
    #ifndef OPAQUE
      // What is hardly there must not write depth.
      if (color.a < 0.02) discard;
    #endif
  }
`;

/** The skirt shows slivers, mostly in motion: it needs no more detail than this. */
const BACKDROP_PX = 1024;

/** The layers as three.js objects, drawn back to front with one call each. */
export class Layers {
  readonly scene = new Scene();
  private readonly eye = new Vector3();
  private readonly window = new Vector4();
  private readonly near: number;
  /** Continues the photo beyond its frame, and backs cracks between layers; a cut-out has none. */
  private readonly skirt: Mesh | null;
  /** What the photo's camera sees. */
  private readonly backdrop: WebGLRenderTarget;

  private constructor(
    private readonly data: SceneData,
    pictures: readonly ImageBitmap[],
  ) {
    const { width, height, layers } = data;
    // Room for the eye's step forward and for the lift that settles ties.
    this.near = 0.25 / Math.max(...layers.map((layer) => layer.high[2]), 1e-6);
    const scale = Math.min(1, BACKDROP_PX / Math.max(width, height));
    this.backdrop = new WebGLRenderTarget(
      Math.max(1, Math.round(width * scale)),
      Math.max(1, Math.round(height * scale)),
    );
    // Rendered pictures have their first row at the bottom.
    const upsideDown = new Vector4(0, height, 1 / width, -1 / height);
    const sheet = data.cut_out ? null : makeSkirt(unpackFrame(data), data, data.view_box);
    this.skirt = sheet && this.add(sheet, this.backdrop.texture, upsideDown, true, -1);
    layers.forEach((layer, order) => {
      const [left, top, right, bottom] = layer.box;
      const cut = new Vector4(left, top, 1 / (right - left), 1 / (bottom - top));
      this.add(unpackSheet(layer), texture(pictures[order]!), cut, layer.opaque, order);
    });
  }

  /** Decode the scene's textures and build its meshes. */
  static async build(data: SceneData): Promise<Layers> {
    return new Layers(data, await Promise.all(data.layers.map(decode)));
  }

  /** Photograph the layers for the skirt; to be done again when the graphics context was lost. */
  bake(renderer: WebGLRenderer): void {
    if (!this.skirt) return;
    const { width, height } = this.data;
    this.look(ORIGIN, { width, height, scale: 1 });
    this.skirt.visible = false;
    renderer.setRenderTarget(this.backdrop);
    renderer.render(this.scene, new Camera());
    renderer.setRenderTarget(null);
    this.skirt.visible = true;
  }

  /** Look from `eye` through a window that shows the photo as `framing` says. */
  look(eye: Vector, framing: Framing): void {
    this.eye.set(...eye);
    const { width, height } = this.data;
    const across = (2 * framing.scale) / framing.width;
    const down = (2 * framing.scale) / framing.height;
    this.window.set(width / 2, height / 2, across, -down);
  }

  private add(sheet: Sheet, map: Texture, cut: Vector4, opaque: boolean, order: number): Mesh {
    const { width, height, lens, view_box } = this.data;
    const tie = TIE_PX / (lens[0] * Math.max(view_box[0], 1e-3));
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(sheet.places, 3));
    geometry.setIndex(new BufferAttribute(sheet.indices, 1));
    const material = new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: VERTEX,
      fragmentShader: opaque ? `#define OPAQUE\n${FRAGMENT}` : FRAGMENT,
      uniforms: {
        map: { value: map },
        size: { value: [width, height] },
        cut: { value: cut },
        lens: { value: new Vector4(...lens) },
        eye: { value: this.eye },
        window: { value: this.window },
        near: { value: this.near },
        // The skirt may be infinitely far, and must not be lifted beyond that.
        lift: { value: Math.max(0, order) * tie },
      },
      // Sorted with the see-through objects even where opaque: the order is back to front for all.
      transparent: true,
      blending: opaque ? NoBlending : CustomBlending,
      blendSrc: OneFactor,
      blendDst: OneMinusSrcAlphaFactor,
      side: DoubleSide,
    });
    const mesh = new Mesh(geometry, material);
    mesh.frustumCulled = false;
    mesh.renderOrder = order;
    this.scene.add(mesh);
    return mesh;
  }
}

function texture(picture: ImageBitmap): Texture {
  const made = new Texture(picture);
  made.minFilter = LinearMipmapLinearFilter;
  made.magFilter = LinearFilter;
  made.needsUpdate = true;
  return made;
}

function decode(layer: LayerData): Promise<ImageBitmap> {
  return createImageBitmap(unpackPicture(layer.texture), {
    premultiplyAlpha: "premultiply",
    colorSpaceConversion: "none",
  });
}
