/** How a photo fits a window. */

/** A photo covers the window if this share of it stays visible: a 3:2 photo does on a 16:9 screen.
 * Otherwise it is shown whole, and nobody loses their head. */
const VISIBLE_SHARE = 0.8;

export interface Framing {
  /** Size of the picture on the page in CSS pixels; at most the window's. */
  readonly width: number;
  readonly height: number;
  /** CSS pixels per photo pixel. */
  readonly scale: number;
}

/** Cover the window if that crops little or `cover` asks for it, else fit into it. */
export function frame(
  photo: { readonly width: number; readonly height: number },
  window: { readonly width: number; readonly height: number },
  cover = false,
): Framing {
  const across = window.width / photo.width;
  const down = window.height / photo.height;
  const [fitting, covering] = across < down ? [across, down] : [down, across];
  const scale = cover || fitting >= VISIBLE_SHARE * covering ? covering : fitting;
  return {
    width: Math.max(1, Math.min(window.width, Math.round(photo.width * scale))),
    height: Math.max(1, Math.min(window.height, Math.round(photo.height * scale))),
    scale,
  };
}
