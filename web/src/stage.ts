import { Camera, WebGLRenderer } from "three";

import { frame, type Framing } from "./framing";
import type { Layers } from "./layers";
import type { SceneData } from "./scene-data";
import type { Vector } from "./vector";

/** Finer screens than this cost frames and show nothing more. */
const MAX_PIXEL_RATIO = 2;

/** Size of the copy behind the picture, which is blurred anyway. */
const GLOW_PX = 32;

/** The canvas and what is drawn on it. */
export class Stage {
  readonly canvas: HTMLCanvasElement;
  framing: Framing = { width: 1, height: 1, scale: 1 };

  private readonly renderer: WebGLRenderer;
  private readonly camera = new Camera();

  /** Throws where the browser has no WebGL 2. */
  constructor(
    private readonly home: HTMLElement,
    private readonly data: SceneData,
    private readonly layers: Layers,
    /** Fill the home, whatever that cuts off. */
    private readonly cover: boolean,
    /** Called when the picture must be drawn again: another size, or a context regained. */
    onStale: () => void,
  ) {
    // Layers carry their own soft edges, so multisampling would smooth nothing.
    this.renderer = new WebGLRenderer({
      antialias: false,
      alpha: data.cut_out,
      powerPreference: "low-power",
    });
    this.renderer.setClearColor(0x0c0d10, data.cut_out ? 0 : 1);
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute(
      "aria-label",
      `${data.name}: a photo with depth. Drag or press the arrow keys to look around.`,
    );
    home.append(this.canvas);
    layers.bake(this.renderer);
    this.fit();
    new ResizeObserver(() => {
      this.fit();
      onStale();
    }).observe(home);
    // three.js uploads everything again by itself; it only has to be asked for pictures.
    this.canvas.addEventListener("webglcontextrestored", () => {
      layers.bake(this.renderer);
      onStale();
    });
  }

  draw(eye: Vector): void {
    this.layers.look(eye, this.framing);
    this.renderer.render(this.layers.scene, this.camera);
  }

  /** Put a dim, blurred copy of the picture just drawn behind it, for windows it does not cover. */
  glow(): void {
    const small = document.createElement("canvas");
    small.width = small.height = GLOW_PX;
    small.getContext("2d")?.drawImage(this.canvas, 0, 0, GLOW_PX, GLOW_PX);
    this.home.style.setProperty("--glow", `url(${small.toDataURL()})`);
  }

  private fit(): void {
    const { clientWidth, clientHeight } = this.home;
    this.framing = frame(this.data, { width: clientWidth, height: clientHeight }, this.cover);
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.setSize(this.framing.width, this.framing.height);
  }
}
