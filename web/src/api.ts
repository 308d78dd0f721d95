import type { Viewer } from "./viewer";

/** What embedding pages and tests may use, as `window.diorama`. */
export interface Api {
  /** Resolves once the first picture is on the screen. */
  readonly ready: Promise<void>;
  /** Stand at this place at once (scene units; x right, y down, z forward, within the view box). */
  setCamera(x: number, y: number, z: number): void;
  /** Hold the picture: no sway, and input has no effect. */
  freeze(): void;
  /** Let go again. */
  unfreeze(): void;
}

declare global {
  interface Window {
    diorama: Api;
  }
}

export function makeApi(opening: Promise<Viewer>): Api {
  let viewer: Viewer | null = null;
  return {
    ready: opening.then((opened) => {
      viewer = opened;
    }),
    setCamera: (x, y, z) => viewer?.place([x, y, z]),
    freeze: () => {
      if (viewer) viewer.rig.frozen = true;
    },
    unfreeze: () => {
      if (!viewer) return;
      viewer.rig.frozen = false;
      viewer.wake();
    },
  };
}
