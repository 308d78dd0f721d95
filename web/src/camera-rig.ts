import { clamp, distance, mix, ORIGIN, plus, type Vector } from "./vector";

/** Time constant of the glide towards where the viewer wants to be, in seconds. */
const GLIDE_S = 0.12;
/** Without input for this long, the picture begins to sway. */
const IDLE_S = 5;
/** A fresh page sways sooner: it is how one sees that the photo is deep. */
const FIRST_IDLE_S = 1;
/** How long the sway takes to reach its full width. */
const SWAY_EASE_S = 2.5;
/** One round of the sway. */
const SWAY_PERIOD_S = 9;
/** Width of the sway as a share of the view box. */
const SWAY_SHARE: Vector = [0.6, 0.3, 0];
/** Movements below this share of the view box are not seen: the picture may rest. */
const REST = 1e-3;

/**
 * Where the eye is and where it is going.
 *
 * Time is handed in, so that the rig is a plain value machine. Input moves the goal, tilt adds to
 * it, idle time blends it into a slow sway; the eye glides after it and never leaves the view box.
 */
export class CameraRig {
  eye: Vector = ORIGIN;
  /** A frozen rig ignores input and does not move. */
  frozen = false;

  private wanted: Vector = ORIGIN;
  private tilted: Vector = ORIGIN;
  private idleFor = IDLE_S - FIRST_IDLE_S;
  private swayFor = 0;

  constructor(
    /** Half sizes of the view box. */
    readonly limits: Vector,
    /** Never sway: the viewer asked their system for less motion. */
    private readonly still: boolean,
  ) {}

  /** Move the goal by shares of the view box. */
  move(step: Vector): void {
    if (this.frozen) return;
    this.takeOver();
    const scaled: Vector = [
      step[0] * this.limits[0],
      step[1] * this.limits[1],
      step[2] * this.limits[2],
    ];
    this.wanted = clamp(plus(this.wanted, scaled), this.limits);
  }

  /** Set what the device's tilt adds to the goal, in shares of the view box. */
  tilt(across: number, down: number): void {
    if (this.frozen) return;
    if (this.swayFor > 0) this.takeOver();
    this.idleFor = 0;
    this.tilted = [across * this.limits[0], down * this.limits[1], 0];
  }

  /** Glide back to the photo's camera. */
  reset(): void {
    if (this.frozen) return;
    this.takeOver();
    this.wanted = ORIGIN;
  }

  /** Stand at a place at once; places outside the view box are moved to its border. */
  place(eye: Vector): void {
    this.eye = clamp(eye, this.limits);
    this.wanted = this.eye;
    this.tilted = ORIGIN;
    this.idleFor = 0;
    this.swayFor = 0;
  }

  /** Let `seconds` pass; returns whether there is more to come without further input. */
  step(seconds: number): boolean {
    if (this.frozen) return false;
    this.idleFor += seconds;
    const swaying = !this.still && this.idleFor >= IDLE_S;
    if (swaying) this.swayFor += seconds;
    const goal = this.goal();
    this.eye = mix(goal, this.eye, Math.exp(-seconds / GLIDE_S));
    const rested = distance(this.eye, goal, this.limits) < REST;
    if (rested && !swaying) this.eye = goal;
    return !this.still || !rested;
  }

  private goal(): Vector {
    const held = clamp(plus(this.wanted, this.tilted), this.limits);
    const share = smooth(this.swayFor / SWAY_EASE_S);
    return mix(held, this.swayed(), share);
  }

  private swayed(): Vector {
    const phase = (2 * Math.PI * this.swayFor) / SWAY_PERIOD_S;
    return [
      Math.sin(phase) * SWAY_SHARE[0] * this.limits[0],
      Math.sin(2 * phase) * SWAY_SHARE[1] * this.limits[1],
      0,
    ];
  }

  /** Input ends the sway where it is, without a jump. */
  private takeOver(): void {
    if (this.swayFor > 0) this.wanted = clamp(plus(this.eye, this.tilted, -1), this.limits);
    this.idleFor = 0;
    this.swayFor = 0;
  }
}

function smooth(t: number): number {
  const x = Math.min(1, Math.max(0, t));
  return x * x * (3 - 2 * x);
}
