import { frame } from "./framing";
import type { SceneData } from "./scene-data";

/** Show the layers as plain pictures on top of each other: the photo, where WebGL 2 is missing. */
export function showFlat(home: HTMLElement, data: SceneData): void {
  const { scale } = frame(data, { width: home.clientWidth, height: home.clientHeight });
  const sheet = document.createElement("div");
  sheet.className = "flat";
  sheet.style.width = `${data.width * scale}px`;
  sheet.style.height = `${data.height * scale}px`;
  sheet.setAttribute("role", "img");
  sheet.setAttribute("aria-label", data.name);
  for (const layer of data.layers) {
    const [left, top, right, bottom] = layer.box;
    const picture = document.createElement("img");
    picture.src = layer.texture;
    picture.alt = "";
    picture.style.left = `${left * scale}px`;
    picture.style.top = `${top * scale}px`;
    picture.style.width = `${(right - left) * scale}px`;
    picture.style.height = `${(bottom - top) * scale}px`;
    sheet.append(picture);
  }
  home.append(sheet);
}
