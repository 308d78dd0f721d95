import type { SceneData } from "./scene-data";
import type { Viewer } from "./viewer";

/** Whether this page is made for a frame in another one: the export says so. */
export const embedded = document.documentElement.classList.contains("embed");

/** Resolves once the element is on the screen; the page around may have it far below. */
export function onScreen(element: HTMLElement): Promise<void> {
  return new Promise((resolve) => {
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      resolve();
    }).observe(element);
  });
}

/** Let the picture rest while it is off the screen, and its poster stand in while it is lost. */
export function standBy(home: HTMLElement, viewer: Viewer): void {
  new IntersectionObserver((entries) => {
    if (entries.at(-1)!.isIntersecting) viewer.rouse();
    else viewer.sleep();
  }).observe(home);
  // A browser takes the graphics of the oldest picture when a page holds too many.
  viewer.canvas.addEventListener("webglcontextlost", () => home.classList.remove("ready"));
  viewer.canvas.addEventListener("webglcontextrestored", () => home.classList.add("ready"));
}

/** Tell the page around what is shown, and that it may be touched. */
export function announce({ name, width, height }: SceneData): void {
  parent.postMessage({ type: "diorama:ready", name, width, height }, "*");
}
