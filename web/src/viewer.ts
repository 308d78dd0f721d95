import { CameraRig } from "./camera-rig";
import { Layers } from "./layers";
import type { SceneData } from "./scene-data";
import { Stage } from "./stage";
import type { Vector } from "./vector";

/** Longer pauses (a hidden tab) are not made up for, in seconds. */
const LONGEST_STEP_S = 0.1;

/** A scene on a page: draws when something moves and rests when nothing does. */
export class Viewer {
  readonly rig: CameraRig;
  private stage!: Stage;
  private pending = 0;
  private lastMs = 0;

  private constructor(data: SceneData, calm: boolean) {
    this.rig = new CameraRig(data.view_box, calm);
  }

  /** Decode, upload and draw the first picture. */
  static async open(home: HTMLElement, data: SceneData, calm: boolean): Promise<Viewer> {
    const viewer = new Viewer(data, calm);
    viewer.stage = new Stage(home, data, await Layers.build(data), () => viewer.drawSoon());
    viewer.stage.draw(viewer.rig.eye);
    viewer.stage.glow();
    return viewer;
  }

  get canvas(): HTMLCanvasElement {
    return this.stage.canvas;
  }

  /** Something may have changed: go on drawing until it has settled. */
  wake(): void {
    if (this.pending !== 0) return;
    this.lastMs = performance.now();
    this.pending = requestAnimationFrame(this.tick);
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
