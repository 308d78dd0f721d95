// Drives a real Chromium through a list of steps and reports what happened.
//
//   node drive.mjs < plan.json > report.json
//
// plan:   {chromium, url, width, height, scale?, touch?, reducedMotion?, steps: [[verb, ...arguments], ...]}
// report: {results: what each step returned, requests: URLs that left the page, errors: what it said}

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--force-color-profile=srgb",
];

const plan = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({ executablePath: plan.chromium, args: FLAGS });
const context = await browser.newContext({
  viewport: { width: plan.width, height: plan.height },
  deviceScaleFactor: plan.scale ?? 1,
  hasTouch: plan.touch ?? false,
  reducedMotion: plan.reducedMotion ? "reduce" : "no-preference",
});
const page = await context.newPage();
const report = { results: [], requests: [], errors: [] };
page.on("request", (request) => {
  const url = request.url();
  if (url !== plan.url && !/^(data|blob):/.test(url)) report.requests.push(url);
});
page.on("pageerror", (error) => report.errors.push(String(error)));
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) report.errors.push(message.text());
});

const verbs = {
  init: (script) => page.addInitScript(script),
  open: () => page.goto(plan.url),
  ready: () => page.evaluate(() => window.diorama.ready),
  wait: (ms) => page.waitForTimeout(ms),
  press: (key) => page.keyboard.press(key),
  wheel: async (deltaY) => {
    await page.mouse.move(plan.width / 2, plan.height / 2);
    await page.mouse.wheel(0, deltaY);
  },
  drag: async (fromX, fromY, toX, toY) => {
    await page.mouse.move(fromX, fromY);
    await page.mouse.down();
    await page.mouse.move(toX, toY, { steps: 8 });
    await page.mouse.up();
  },
  touch: async (...frames) => {
    // Each frame lists the fingers' [x, y]; the first sets them down, after the last they lift.
    const client = await context.newCDPSession(page);
    for (const [i, fingers] of frames.entries()) {
      const touchPoints = fingers.map(([x, y], id) => ({ x, y, id }));
      await client.send("Input.dispatchTouchEvent", { type: i ? "touchMove" : "touchStart", touchPoints });
    }
    await client.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  },
  resize: (width, height) => page.setViewportSize({ width, height }),
  click: (selector) => page.click(selector),
  evaluate: (script) => page.evaluate(script),
  screenshot: (path) => page.screenshot({ path }).then(() => path),
};

try {
  for (const [verb, ...args] of plan.steps) report.results.push((await verbs[verb](...args)) ?? null);
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(report));
