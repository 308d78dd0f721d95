import "./style.css";

import { makeApi } from "./api";
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
  let data: SceneData | null = null;
  try {
    data = parseScene(element("scene").textContent ?? "null");
    document.title = data.name;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const viewer = await Viewer.open(element("stage"), data, calm);
    start(viewer);
    return viewer;
  } catch (error) {
    // Someone who was sent this page should see the photo, or at least why not.
    if (data) showFlat(element("stage"), data);
    showNotice(element("hint"), error instanceof Error ? error.message : String(error));
    throw error;
  }
}

function start(viewer: Viewer): void {
  const wake = () => viewer.wake();
  listenToDrag(viewer.canvas, viewer.rig, wake);
  listenToWheel(viewer.canvas, viewer.rig, wake);
  listenToTilt(element("tilt"), viewer.rig, wake);
  const help = element<HTMLDialogElement>("help");
  listenToKeyboard(viewer.rig, wake, () => (help.open ? help.close() : help.showModal()));
  help.addEventListener("click", () => help.close());
  viewer.rig.frozen = wantsStill();
  element("stage").classList.add("ready", viewer.rig.frozen ? "still" : "moving");
  if (viewer.rig.frozen) return;
  showHint(element("hint"), "Drag to look around");
  wake();
}

window.diorama = makeApi(open());
