import { CameraRig } from "./camera-rig";
import { Layers } from "./layers";
import type { SceneData } from "./scene-data";
import { Stage } from "./stage";
import type { Vector } from "./vector";

export interface Options {
  /** Never sway: the viewer asked their system for less motion. */
  readonly calm: boolean;
  /** Fill the page, whatever that cuts off. */
  readonly cover: boolean;
}

/** Longer pauses (a hidden tab) are not made up for, in seconds. */
const LONGEST_STEP_S = 0.1;

/** A scene on a page: draws when something moves and rests when nothing does. */
export class Viewer {
  readonly rig: CameraRig;
  private stage!: Stage;
  private pending = 0;
  private lastMs = 0;
  private asleep = false;

  private constructor(data: SceneData, calm: boolean) {
    this.rig = new CameraRig(data.view_box, calm);
  }

  /** Decode, upload and draw the first picture. */
  static async open(home: HTMLElement, data: SceneData, options: Options): Promise<Viewer> {
    const viewer = new Viewer(data, options.calm);
    const layers = await Layers.build(data);
    viewer.stage = new Stage(home, data, layers, options.cover, () => viewer.drawSoon());
    viewer.stage.draw(viewer.rig.eye);
    viewer.stage.glow();
    return viewer;
  }

  get canvas(): HTMLCanvasElement {
    return this.stage.canvas;
  }

  /** Something may have changed: go on drawing until it has settled. */
  wake(): void {
    if (this.pending !== 0 || this.asleep) return;
    this.lastMs = performance.now();
    this.pending = requestAnimationFrame(this.tick);
  }

  /** Nobody is looking: draw nothing until `rouse`. */
  sleep(): void {
    this.asleep = true;
    cancelAnimationFrame(this.pending);
    this.pending = 0;
  }

  rouse(): void {
    this.asleep = false;
    this.wake();
  }

  /** Stand at a place and draw it now. */
  place(eye: Vector): void {
    this.rig.place(eye);
    this.stage.draw(this.rig.eye);
  }

  private drawSoon(): void {
    if (this.pending === 0) this.stage.draw(this.rig.eye);
  }

  private readonly tick = (nowMs: number) => {
    const seconds = Math.min(LONGEST_STEP_S, Math.max(0, nowMs - this.lastMs) / 1000);
    this.lastMs = nowMs;
    this.pending = this.rig.step(seconds) ? requestAnimationFrame(this.tick) : 0;
    this.stage.draw(this.rig.eye);
  };
}
