import {
  BufferAttribute,
  BufferGeometry,
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
} from "three";

import type { Framing } from "./framing";
import type { LayerData, SceneData } from "./scene-data";
import { withSkirt } from "./skirt";
import { unpackPicture, unpackSheet } from "./unpack";
import type { Vector } from "./vector";

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

/** The layers as three.js objects, drawn back to front with one call each. */
export class Layers {
  readonly scene = new Scene();
  private readonly eye = new Vector3();
  private readonly window = new Vector4();

  private constructor(private readonly data: SceneData) {}

  /** Decode the scene's textures and build its meshes. */
  static async build(data: SceneData): Promise<Layers> {
    const layers = new Layers(data);
    const sheets = data.layers.map((layer) =>
      withSkirt(unpackSheet(layer), data, data.view_box),
    );
    const pictures = await Promise.all(data.layers.map(decode));
    const nearest = Math.max(...data.layers.map((layer) => layer.high[2]), 1e-6);
    const tie = TIE_PX / (data.lens[0] * Math.max(data.view_box[0], 1e-3));
    data.layers.forEach((layer, order) => {
      const geometry = new BufferGeometry();
      geometry.setAttribute("position", new BufferAttribute(sheets[order]!.places, 3));
      geometry.setIndex(new BufferAttribute(sheets[order]!.indices, 1));
      const material = layers.material(layer, pictures[order]!);
      // Room for the eye's step forward and for the lift that settles ties.
      material.uniforms["near"] = { value: 0.25 / nearest };
      material.uniforms["lift"] = { value: order * tie };
      const mesh = new Mesh(geometry, material);
      mesh.frustumCulled = false;
      mesh.renderOrder = order;
      layers.scene.add(mesh);
    });
    return layers;
  }

  /** Look from `eye` through a window that shows the photo as `framing` says. */
  look(eye: Vector, framing: Framing): void {
    this.eye.set(...eye);
    const { width, height } = this.data;
    const across = (2 * framing.scale) / framing.width;
    const down = (2 * framing.scale) / framing.height;
    this.window.set(width / 2, height / 2, across, -down);
  }

  private material(layer: LayerData, picture: ImageBitmap): RawShaderMaterial {
    const [left, top, right, bottom] = layer.box;
    const { width, height, lens } = this.data;
    return new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: VERTEX,
      fragmentShader: layer.opaque ? `#define OPAQUE\n${FRAGMENT}` : FRAGMENT,
      uniforms: {
        map: { value: texture(picture) },
        size: { value: [width, height] },
        cut: { value: new Vector4(left, top, 1 / (right - left), 1 / (bottom - top)) },
        lens: { value: new Vector4(...lens) },
        eye: { value: this.eye },
        window: { value: this.window },
      },
      // Sorted with the see-through objects even where opaque: the order is back to front for all.
      transparent: true,
      blending: layer.opaque ? NoBlending : CustomBlending,
      blendSrc: OneFactor,
      blendDst: OneMinusSrcAlphaFactor,
      side: DoubleSide,
    });
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
