import type { CameraRig } from "../camera-rig";

/** Dragging across this share of the picture's shorter side goes from the middle to the limit. */
const REACH = 0.35;
/** Spreading two fingers by this factor goes from the middle to the limit. */
const PINCH = 1.6;

/** One pointer drags the scene sideways; two also pull it nearer. Mouse, pen and fingers alike. */
export function listenToDrag(canvas: HTMLCanvasElement, rig: CameraRig, wake: () => void): void {
  const down = new Map<number, { x: number; y: number }>();

  const spread = (): number => {
    const [a, b] = [...down.values()];
    return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const spreadBefore = spread();
    const reach = (REACH * Math.min(canvas.clientWidth, canvas.clientHeight)) * down.size;
    const across = (event.clientX - before.x) / reach;
    const below = (event.clientY - before.y) / reach;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const nearer = spreadBefore > 0 ? Math.log(spread() / spreadBefore) / Math.log(PINCH) : 0;
    // The near scene follows the hand, so the eye goes the other way.
    rig.move([-across, -below, Number.isFinite(nearer) ? nearer : 0]);
    wake();
  });

  const up = (event: PointerEvent) => down.delete(event.pointerId);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}
