// The page beyond loopback: TLS, and the token that a person gives once, in headless Chromium.
//
//   npm ci && node network.test.js          GAZED=path/to/gazed CHROMIUM=path/to/chromium

import { copyFileSync, chmodSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { PATIENCE_MS, claim, ensure, folder, isShown, run, says, shots } from "./gazed.js";

const token = "3c6e0b8a9c15224a8228b9a98ca1531d";
// Beside the test of the server, which says how it was made.
const made = resolve(import.meta.dirname, "../../host/src/server/tests");

/** Settings that name a token, a certificate and a key. */
function settings() {
  const secret = (name, write) => {
    const path = join(folder, name);
    write(path);
    chmodSync(path, 0o600);
    return path;
  };
  const files = {
    token: secret("token", (path) => writeFileSync(path, `${token}\n`)),
    certificate: secret("certificate.pem", (path) => copyFileSync(join(made, "certificate.pem"), path)),
    key: secret("key.pem", (path) => copyFileSync(join(made, "key.pem"), path)),
  };
  const path = join(folder, "gazed.toml");
  writeFileSync(path, `[server]\ntoken_file = "${files.token}"\n`
    + `tls = { certificate = "${files.certificate}", key = "${files.key}" }\n`);
  return path;
}

/** An address of this machine that others could use; loopback where it has no other. */
function outerAddress() {
  const all = Object.values(networkInterfaces()).flat();
  return all.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

await run("0.0.0.0:0", settings(), async (daemon, anywhere, browser) => {
  const origin = `https://${outerAddress()}:${new URL(anywhere).port}`;
  // The certificate signs itself; a person is asked once whether to trust it.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await claim("without the token there is a form, and nothing of the person", async () => {
    const answer = await page.goto(origin);
    ensure(answer.status() === 401, `${answer.status()}`);
    await page.waitForSelector("#token");
    ensure((await context.request.get(`${origin}/status`)).status() === 401, "the status is told");
    await page.screenshot({ path: join(shots, "network-1-token.png") });
  });
  await claim("a wrong token gets the form again", async () => {
    await page.fill("#token", token.replace("3", "4"));
    await page.keyboard.press("Enter");
    await page.waitForURL(/token=4/);
    await page.waitForSelector("#token");
  });
  await claim("the right one opens the page, and does not stay in its address", async () => {
    // The wrong one before makes this address wait for a quarter of a second.
    await page.waitForTimeout(1000);
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await says(page, "state", "^live$");
    ensure(page.url() === `${origin}/`, page.url());
    await page.screenshot({ path: join(shots, "network-2-live.png") });
  });
  await claim("the cookie is not the token and is out of reach for scripts", async () => {
    const cookies = await context.cookies();
    ensure(cookies.length === 1 && cookies[0].httpOnly && cookies[0].secure, JSON.stringify(cookies));
    ensure(!cookies[0].value.includes(token), "the cookie holds the token");
    ensure(await page.evaluate(() => document.cookie) === "", "a script can read it");
  });
  await claim("the calibration page works over the network", async () => {
    await page.goto(`${origin}/calibrate`);
    await isShown(page, "setup");
    await page.fill("#user", "anna");
    await page.keyboard.press("Enter");
    await isShown(page, "ruler");
    await page.click("#measured");
    await page.waitForSelector("#begin:not(:disabled)", { timeout: PATIENCE_MS });
    await page.keyboard.press("Space");
    await isShown(page, "stage");
    await page.keyboard.press("Escape");
  });
  await claim("a daemon that was started again asks for its token again", async () => {
    await page.goto(origin);
    await says(page, "state", "^live$");
    await daemon.end();
    await daemon.again();
    await page.waitForSelector("#token", { timeout: PATIENCE_MS });
  });
});
