import type { CameraRig } from "../camera-rig";

/** Wheel travel from the middle to the limit, in CSS pixels: about four notches of a mouse. */
const REACH_PX = 400;
/** CSS pixels a line or a page counts for, where wheels count so. */
const UNIT_PX = [1, 20, 400] as const;
/** Trackpads report a pinch as a slow wheel with the control key. */
const TRACKPAD_PINCH = 5;

/** The wheel moves the eye while `mayTake` says so, and else the page around. */
export function listenToWheel(
  canvas: HTMLCanvasElement,
  rig: CameraRig,
  wake: () => void,
  mayTake: () => boolean,
): void {
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!mayTake()) return;
      event.preventDefault();
      const travel = event.deltaY * (UNIT_PX[event.deltaMode] ?? 1);
      rig.move([0, 0, (-travel * (event.ctrlKey ? TRACKPAD_PINCH : 1)) / REACH_PX]);
      wake();
    },
    { passive: false },
  );
}
