import "./style.css";

import { makeApi } from "./api";
import { announce, embedded, onScreen, standBy } from "./embed";
import { showFlat } from "./flat";
import { showHint, showNotice } from "./hint";
import { listenToDrag } from "./input/drag";
import { listenToKeyboard } from "./input/keyboard";
import { listenToTilt } from "./input/tilt";
import { listenToWheel } from "./input/wheel";
import type { SceneData } from "./scene-data";
import { parseScene } from "./unpack";
import { Viewer } from "./viewer";

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** `#still` or `?still`: begin at the photo's camera and stay there. */
function wantsStill(): boolean {
  return location.hash === "#still" || new URLSearchParams(location.search).has("still");
}

async function open(): Promise<Viewer> {
  const stage = element("stage");
  let data: SceneData | null = null;
  try {
    if (embedded) await onScreen(stage);
    data = parseScene(element("scene").textContent ?? "null");
    document.title = data.name;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const viewer = await Viewer.open(stage, data, { calm, cover: embedded && !data.cut_out });
    start(viewer);
    if (embedded) {
      standBy(stage, viewer);
      announce(data);
    }
    return viewer;
  } catch (error) {
    // Someone who was sent this page should see the photo, or at least why not.
    if (!embedded) {
      if (data) showFlat(stage, data);
      showNotice(element("hint"), error instanceof Error ? error.message : String(error));
    }
    throw error;
  }
}

function start(viewer: Viewer): void {
  const wake = () => viewer.wake();
  listenToDrag(viewer.canvas, viewer.rig, wake);
  // In a frame, the page around scrolls until someone has turned to this one.
  listenToWheel(viewer.canvas, viewer.rig, wake, () => !embedded || document.hasFocus());
  listenToTilt(element("tilt"), viewer.rig, wake);
  const help = element<HTMLDialogElement>("help");
  listenToKeyboard(viewer.rig, wake, {
    "?": () => (help.open ? help.close() : help.showModal()),
    f: toggleFullScreen,
  });
  help.addEventListener("click", () => help.close());
  viewer.rig.frozen = wantsStill();
  element("stage").classList.add("ready", viewer.rig.frozen ? "still" : "moving");
  if (viewer.rig.frozen) return;
  if (!embedded) showHint(element("hint"), "Drag to look around");
  wake();
}

function toggleFullScreen(): void {
  // Refused where a frame was not given the right; some phones do not have it at all.
  const done = document.fullscreenElement
    ? document.exitFullscreen()
    : document.documentElement.requestFullscreen?.();
  done?.catch(() => undefined);
}

window.diorama = makeApi(open());
// The poster stays: that is no error to a reader of the page around.
if (embedded) window.diorama.ready.catch(() => undefined);
