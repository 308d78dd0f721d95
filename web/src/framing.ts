/** How a photo fits a window. */

/** At least this share of the photo's longer-than-needed side stays visible: a wide photo on an
 * upright phone would otherwise show a narrow strip of itself. */
const VISIBLE_SHARE = 0.5;

export interface Framing {
  /** Size of the picture on the page in CSS pixels; at most the window's. */
  readonly width: number;
  readonly height: number;
  /** CSS pixels per photo pixel. */
  readonly scale: number;
}

/** Cover the window, or as much of it as leaves half of the photo in sight. */
export function frame(
  photo: { readonly width: number; readonly height: number },
  window: { readonly width: number; readonly height: number },
): Framing {
  const across = window.width / photo.width;
  const down = window.height / photo.height;
  const scale = Math.min(Math.max(across, down), Math.min(across, down) / VISIBLE_SHARE);
  return {
    width: Math.max(1, Math.min(window.width, Math.round(photo.width * scale))),
    height: Math.max(1, Math.min(window.height, Math.round(photo.height * scale))),
    scale,
  };
}
