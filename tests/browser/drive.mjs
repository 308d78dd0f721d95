// Drives one real Chromium through plans, a line of JSON each, and answers each with a line.
//
//   node drive.mjs /usr/bin/chromium < plans > reports
//
// plan:   {url, width, height, scale?, reducedMotion?, scripts?: false, own?: other URLs that are
//          part of the page, steps: [[verb, ...arguments], ...]}
// report: {results: what each step returned, requests: URLs that left the page, errors: what it said}
//         or {failure} where a step could not be done

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

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

const browser = await chromium.launch({ executablePath: process.argv[2], args: FLAGS });
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const report = await visit(JSON.parse(line)).catch((error) => ({ failure: String(error) }));
    process.stdout.write(JSON.stringify(report) + "\n");
  }
} finally {
  await browser.close();
}

async function visit(plan) {
  const context = await browser.newContext({
    viewport: { width: plan.width, height: plan.height },
    deviceScaleFactor: plan.scale ?? 1,
    reducedMotion: plan.reducedMotion ? "reduce" : "no-preference",
    javaScriptEnabled: plan.scripts ?? true,
  });
  const page = await context.newPage();
  const report = { results: [], requests: [], errors: [] };
  page.on("request", (request) => {
    const url = request.url();
    const own = [plan.url, ...(plan.own ?? [])].map((page) => page.split("#")[0]);
    if (!own.includes(url.split("#")[0]) && !/^(data|blob):/.test(url)) report.requests.push(url);
  });
  page.on("pageerror", (error) => report.errors.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) report.errors.push(message.text());
  });
  const verbs = verbsOf(plan, context, page);
  try {
    for (const [verb, ...args] of plan.steps) report.results.push((await verbs[verb](...args)) ?? null);
  } finally {
    await context.close();
  }
  return report;
}

function verbsOf(plan, context, page) {
  return {
    init: (script) => page.addInitScript(script),
    open: () => page.goto(plan.url).then(() => null),
    ready: () => page.evaluate(() => window.diorama.ready),
    wait: (ms) => page.waitForTimeout(ms),
    press: (key) => page.keyboard.press(key),
    wheel: async (deltaY, x = plan.width / 2, y = plan.height / 2) => {
      await page.mouse.move(x, y);
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
    inside: (script) => page.frames()[1].evaluate(script),
    click: (selector) => page.click(selector),
    evaluate: (script) => page.evaluate(script),
    screenshot: (path) => page.screenshot({ path }).then(() => path),
  };
}
