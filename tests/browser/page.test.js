// Drives the live page of a real gazed, on the synthetic observer, in headless Chromium.
//
//   npm ci && npm test          GAZED=path/to/gazed CHROMIUM=path/to/chromium
//
// Screenshots are left in target/browser. Ends with "N passed, N failed".

import http from "node:http";
import net from "node:net";
import { join } from "node:path";
import { PATIENCE_MS, claim, complaintsOf, ensure, run, says, shots, socket } from "./gazed.js";

/** The status code of a request with headers of our own. */
function ask(origin, path, headers) {
  const { hostname, port } = new URL(origin);
  return new Promise((done, failed) => {
    const request = http.get({ hostname, port, path, headers }, (answer) => {
      answer.resume();
      done(answer.statusCode);
    });
    request.on("upgrade", (_, upgraded) => {
      upgraded.destroy();
      done(101);
    });
    request.on("error", failed);
  });
}

const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

// ---------------------------------------------------------------- what a page shows

/** The grey values of a canvas, read from a copy: the page's own canvas stays as it is. */
const greys = (page, id) => page.evaluate((id) => {
  const canvas = document.getElementById(id);
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let [sum, squares, print] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const grey = data[i] + data[i + 1] + data[i + 2];
    sum += grey;
    squares += grey ** 2;
    print = (print * 31 + grey) % 4294967291;
  }
  const n = data.length / 4;
  return { print, spread: Math.sqrt(squares / n - (sum / n) ** 2) / 3 };
}, id);

async function changes(page, id, times) {
  let last = (await greys(page, id)).print;
  const until = Date.now() + PATIENCE_MS;
  for (let seen = 0; seen < times;) {
    ensure(Date.now() < until, `#${id} changed ${seen} times only`);
    await page.waitForTimeout(50);
    const now = (await greys(page, id)).print;
    if (now !== last) seen += 1;
    last = now;
  }
}

const isLoopback = (url) => ["127.0.0.1", "localhost", "[::1]"].includes(new URL(url).hostname);

// ---------------------------------------------------------------- the claims

async function pageClaims(page, origin, complaints) {
  await claim("the page says that it is live", () => says(page, "state", "^live$"));
  await claim("the camera picture moves", () => changes(page, "picture", 3));
  await claim("the picture is of a face, not of nothing", async () => {
    const { spread } = await greys(page, "picture");
    ensure(spread > 15, `grey values have a standard deviation of ${spread}`);
  });
  await claim("what is seen is spelled out", () => says(page, "verdict", "gaze|eyes closed|no face"));
  await claim("the chart moves", () => changes(page, "chart", 5));
  await claim("the point of regard moves on the screen", () => changes(page, "screen", 3));
  await claim("fixations appear", async () => {
    await says(page, "fixations", "^[1-9]");
    await page.waitForSelector("#events .fixation", { state: "attached", timeout: PATIENCE_MS });
  });
  await claim("frame rate, latency and networks are numbers and names", async () => {
    await says(page, "frame-rate", "^[0-9.]+$");
    await says(page, "latency", "^[0-9.]+$");
    await says(page, "models", "eyes");
    await says(page, "picture-size", "640 × 480");
  });
  await claim("an announced scene reaches the page", async () => {
    const fetched = page.waitForResponse((answer) => answer.url().endsWith("/scene"), { timeout: PATIENCE_MS });
    const client = net.connect(socket);
    const objects = [{ id: "mail", box: [100, 100, 800, 600], class: "mail" }];
    client.write(`${JSON.stringify({ type: "scene", scene_id: "desk", width_px: 1920, height_px: 1080, objects })}\n`);
    const scene = await (await fetched).json();
    client.end();
    ensure(scene.objects.length === 1 && scene.objects[0].id === "mail", JSON.stringify(scene));
  });
  await claim("everything fits on 1280x800", async () => {
    const over = await page.evaluate(() => document.scrollingElement.scrollHeight - innerHeight);
    ensure(over <= 0, `${over} px are below the fold`);
  });
  await page.screenshot({ path: join(shots, "page.png") });
  await claim("the console is silent", () => ensure(complaints.length === 0, complaints.join("\n")));
}

async function phoneClaims(browser, origin) {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, colorScheme: "light" });
  const page = await context.newPage();
  await page.goto(origin);
  await claim("on a phone nothing is wider than the screen", async () => {
    await says(page, "state", "^live$");
    const over = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    ensure(over <= 0, `${over} px too wide`);
  });
  await page.screenshot({ path: join(shots, "phone.png"), fullPage: true });
  await context.close();
}

async function foreignClaims(browser, origin) {
  const { port } = new URL(origin);
  for (const path of ["/", "/events", "/picture", "/status"]) {
    await claim(`${path} refuses a foreign Origin and a foreign Host`, async () => {
      const upgrade = path === "/events" || path === "/picture" ? UPGRADE : {};
      const foreign = await ask(origin, path, { ...upgrade, origin: "http://evil.example" });
      const rebound = await ask(origin, path, { ...upgrade, host: `evil.example:${port}` });
      const own = await ask(origin, path, { ...upgrade, origin });
      ensure(foreign === 403 && rebound === 403, `answered ${foreign} and ${rebound}`);
      ensure(own === (upgrade.upgrade ? 101 : 200), `the page's own Origin was answered ${own}`);
    });
  }
  await claim("another site in the same browser gets neither gaze nor picture", async () => {
    const site = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<p>another site"));
    await new Promise((open) => site.listen(0, "127.0.0.1", open));
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    const got = await page.evaluate(async (origin) => {
      const socket = (path) => new Promise((done) => {
        const socket = new WebSocket(origin.replace("http", "ws") + path);
        socket.onopen = () => done(`${path} opened`);
        socket.onerror = () => done(null);
      });
      const image = new Promise((done) => {
        const image = new Image();
        image.onload = () => done("image loaded");
        image.onerror = () => done(null);
        image.src = `${origin}/icon.svg`;
      });
      const text = fetch(`${origin}/status`).then(() => "status read", () => null);
      return (await Promise.all([socket("/events?types="), socket("/picture"), image, text])).filter(Boolean);
    }, origin);
    await page.close();
    site.close();
    ensure(got.length === 0, got.join(", "));
  });
}

async function restartClaims(page, daemon) {
  await claim("SIGTERM ends gazed with 0 while the page is open", async () => {
    const code = await daemon.end();
    ensure(code === 0, `ended with ${code}`);
  });
  await claim("the page says that gazed is gone", () => says(page, "state", "no connection"));
  await claim("the page comes back by itself when gazed is back", async () => {
    await daemon.again();
    await says(page, "state", "^live$");
    await changes(page, "picture", 2);
  });
}

// ---------------------------------------------------------------- all of it

await run("127.0.0.1:0", null, async (daemon, origin, browser) => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: "dark" });
  const complaints = complaintsOf(page);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("websocket", (socket) => asked.push(socket.url()));
  await page.goto(origin);

  await pageClaims(page, origin, complaints);
  await phoneClaims(browser, origin);
  await foreignClaims(browser, origin);
  await restartClaims(page, daemon);
  await claim("no request leaves this machine", () => {
    const foreign = asked.filter((url) => !isLoopback(url));
    ensure(asked.length > 5 && foreign.length === 0, foreign.join("\n"));
  });
});
