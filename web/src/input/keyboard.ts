import type { CameraRig } from "../camera-rig";
import type { Vector } from "../vector";

/** One press goes this far, as a share of the view box. */
const STEP = 0.2;

const MOVES: Readonly<Record<string, Vector>> = {
  ArrowLeft: [-STEP, 0, 0],
  ArrowRight: [STEP, 0, 0],
  ArrowUp: [0, -STEP, 0],
  ArrowDown: [0, STEP, 0],
  "+": [0, 0, STEP],
  "=": [0, 0, STEP],
  "-": [0, 0, -STEP],
};

export function listenToKeyboard(
  rig: CameraRig,
  wake: () => void,
  commands: Readonly<Record<string, () => void>>,
): void {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = MOVES[event.key];
    if (move) rig.move(move);
    else if (event.key === "0" || event.key === "r") rig.reset();
    else if (commands[event.key]) commands[event.key]!();
    else return;
    event.preventDefault();
    wake();
  });
}
