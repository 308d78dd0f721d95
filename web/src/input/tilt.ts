import type { CameraRig } from "../camera-rig";

/** Tilting the device this far goes from the middle to the limit. */
const REACH_DEG = 14;
/** How fast "straight" follows the way the device is held, as a time constant in seconds. */
const RECENTRE_S = 12;
/** A jump beyond this is an angle that wrapped round, not a hand. */
const LEAP_DEG = 30;
/** Sensors that may be read have spoken by then, in milliseconds. */
const SILENCE_MS = 1000;

interface AskingEvent {
  requestPermission?: () => Promise<PermissionState>;
}

/**
 * Follow the device's orientation where the page may read it.
 *
 * Sensors need a secure context; elsewhere touch is all there is. iOS asks, and only on a tap: a
 * button appears where a touch screen stays silent, and goes away once it is answered.
 */
export function listenToTilt(button: HTMLButtonElement, rig: CameraRig, wake: () => void): void {
  if (!isSecureContext || !("DeviceOrientationEvent" in window) || isRefused()) return;
  const tilt = new Tilt();
  let heard = false;
  addEventListener("deviceorientation", (event) => {
    const angle = screen.orientation?.angle ?? 0;
    const share = tilt.read(event.beta, event.gamma, angle, event.timeStamp);
    if (!share) return;
    heard = true;
    button.hidden = true;
    rig.tilt(...share);
    wake();
  });
  const { requestPermission } = DeviceOrientationEvent as unknown as AskingEvent;
  if (!requestPermission || !matchMedia("(pointer: coarse)").matches) return;
  setTimeout(() => (button.hidden = heard), SILENCE_MS);
  button.addEventListener("click", () => {
    button.hidden = true;
    // Refused or not, touch remains.
    requestPermission.call(DeviceOrientationEvent).catch(() => undefined);
  });
}

/** Whether the page around keeps sensors from this frame; Chromium would complain of being asked. */
function isRefused(): boolean {
  const { featurePolicy } = document as { featurePolicy?: { allowsFeature(name: string): boolean } };
  return featurePolicy !== undefined && !featurePolicy.allowsFeature("gyroscope");
}

/** Turns sensor angles into shares of the view box, around the way the device is usually held. */
export class Tilt {
  private straight: [number, number] | null = null;
  private last: [number, number] = [0, 0];
  private lastMs = 0;

  /** Shares right and down in -1..1, or null where the sensor reports nothing. */
  read(
    beta: number | null,
    gamma: number | null,
    screenDeg: number,
    timeMs: number,
  ): [number, number] | null {
    if (beta === null || gamma === null) return null;
    const now = onScreen(beta, gamma, screenDeg);
    const leapt = Math.max(Math.abs(now[0] - this.last[0]), Math.abs(now[1] - this.last[1])) > LEAP_DEG;
    if (this.straight === null || leapt) this.straight = [...now];
    const seconds = Math.max(0, timeMs - this.lastMs) / 1000;
    const follow = 1 - Math.exp(-Math.min(seconds, 1) / RECENTRE_S);
    this.last = now;
    this.lastMs = timeMs;
    const share = (i: 0 | 1): number => {
      const off = now[i] - this.straight![i];
      this.straight![i] += off * follow;
      return Math.min(1, Math.max(-1, off / REACH_DEG));
    };
    return [share(0), share(1)];
  }
}

/** Rotation about the screen's own upright and level axes, in degrees. */
function onScreen(beta: number, gamma: number, screenDeg: number): [number, number] {
  switch (((screenDeg % 360) + 360) % 360) {
    case 90:
      return [beta, -gamma];
    case 180:
      return [-gamma, -beta];
    case 270:
      return [-beta, gamma];
    default:
      return [gamma, beta];
  }
}
