/** How long the hint stays if nothing happens, in milliseconds. */
const SHOWN_MS = 4500;

/** Show one quiet line that goes away by itself or at the first touch. */
export function showHint(line: HTMLElement, text: string): void {
  showNotice(line, text);
  const hide = () => line.classList.remove("shown");
  setTimeout(hide, SHOWN_MS);
  addEventListener("pointerdown", hide, { once: true });
  addEventListener("keydown", hide, { once: true });
}

/** Show one line that stays. */
export function showNotice(line: HTMLElement, text: string): void {
  line.textContent = text;
  line.classList.add("shown");
}
