// Calibrates the synthetic observer on the page of a real gazed, in headless Chromium: the observer
// looks where the session shows its targets, blinks, and is distracted once.
//
//   npm ci && node calibrate.test.js          GAZED=path/to/gazed CHROMIUM=path/to/chromium

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PATIENCE_MS, claim, complaintsOf, ensure, folder, isShown, run, says, shots } from "./gazed.js";

/** A session lasts 25 s, and a busy machine sees few frames of it. */
const SESSION_MS = 3 * PATIENCE_MS;

/** Keeps every calibration record that the page gets. */
function listen(page) {
  const records = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    if (typeof payload !== "string" || !payload.startsWith('{"type":"calibration"')) return;
    records.push(JSON.parse(payload));
  }));
  return records;
}

async function calibrateClaims(page, origin, records) {
  await claim("the screen's size is asked once, by a bank card", async () => {
    await page.goto(`${origin}/calibrate`);
    await isShown(page, "setup");
    await page.screenshot({ path: join(shots, "calibrate-1-setup.png") });
    await page.fill("#user", "anna");
    await page.keyboard.press("Enter");
    await isShown(page, "ruler");
    // 1280 px are 531 mm wide when a card of 85.6 mm is 206 px wide.
    await page.locator("#card-width").fill("206");
    await page.screenshot({ path: join(shots, "calibrate-2-ruler.png") });
    await page.click("#measured");
  });
  await claim("the page says whether the face is well placed", async () => {
    await isShown(page, "placing");
    await page.waitForSelector("#begin:not(:disabled)", { timeout: PATIENCE_MS });
    await page.waitForFunction(() => /cm$/.test(document.getElementById("placement").textContent));
    await page.waitForTimeout(500);
    await page.screenshot({ path: join(shots, "calibrate-3-placing.png") });
  });
  await claim("space starts, and nine targets and four to judge are looked at", async () => {
    await page.keyboard.press("Space");
    await isShown(page, "stage");
    await page.waitForTimeout(900);
    await page.screenshot({ path: join(shots, "calibrate-4-target.png") });
    await isShown(page, "review", SESSION_MS);
    await page.screenshot({ path: join(shots, "calibrate-5-review.png") });
  });
  await claim("all of it takes at most 45 s of the person's time", () => {
    const first = records.find((record) => record.stage === "target");
    const review = records.find((record) => record.stage === "review");
    const seconds = (review.t_us - first.t_us) / 1e6;
    console.log(`        ${seconds.toFixed(1)} s`);
    ensure(seconds <= 45, `${seconds} s`);
  });
  await claim("the result is drawn for each target and can be accepted", async () => {
    const { result } = records.findLast((record) => record.stage === "review");
    console.log(`        accuracy ${result.accuracy_deg?.toFixed(2)} deg, uncalibrated ${result.uncalibrated_deg?.toFixed(2)} deg, ${result.model}`);
    ensure(result.can_accept, result.verdict);
    ensure(result.targets.filter((target) => target.is_validation && target.gaze).length >= 3, "validation targets were missed");
    ensure(await page.locator("#map .target").count() === 13, "the map shows 13 targets");
    ensure(await page.locator("#rows tr").count() === 13, "the table has 13 rows");
    ensure(result.accuracy_deg !== null && result.accuracy_cm > 0 && result.accuracy_px > 0 && result.precision_sd_cm > 0 && result.precision_sd_deg > 0, JSON.stringify(result));
  });
  await claim("enter accepts, and the profile is kept", async () => {
    await page.keyboard.press("Enter");
    await isShown(page, "done");
    ensure((await page.textContent("#done-words")) === "Calibrated", await page.textContent("#done-words"));
    const profile = readFileSync(join(folder, "profiles/anna.toml"), "utf8");
    ensure(profile.includes('user = "anna"') && profile.includes("[validation"), profile.slice(0, 200));
  });
}

async function reloadClaims(page, origin) {
  await claim("a page that is reloaded half-way finds its session waiting", async () => {
    await page.goto(`${origin}/calibrate`);
    await isShown(page, "setup");
    await page.selectOption("#targets", "5");
    await page.locator("#options .primary").click();
    await page.waitForSelector("#begin:not(:disabled)", { timeout: PATIENCE_MS });
    await page.click("#begin");
    await isShown(page, "stage");
    await page.waitForTimeout(2500);
    await page.reload();
    await isShown(page, "paused");
    await page.screenshot({ path: join(shots, "calibrate-6-paused.png") });
    await page.click("#resume");
    await isShown(page, "stage");
  });
  await claim("space pauses, and escape discards without a change", async () => {
    await page.keyboard.press("Space");
    await isShown(page, "paused");
    await page.keyboard.press("Escape");
    await isShown(page, "done");
    ensure((await page.textContent("#done-words")) === "Discarded", await page.textContent("#done-words"));
  });
}

async function restartClaims(page, origin, daemon) {
  await daemon.end("SIGKILL");
  await claim("after a kill and a restart the person is still calibrated", async () => {
    await daemon.again();
    await page.goto(origin);
    await says(page, "verdict", "(?<!un)calibrated$");
    ensure((await page.textContent("#user")) === "anna", await page.textContent("#user"));
  });
  await claim("one key recentres", async () => {
    await page.keyboard.press("r");
    await isShown(page, "done");
    ensure((await page.textContent("#done-words")) === "Recentred", await page.textContent("#done-detail"));
  });
}

await run("127.0.0.1:0", null, async (daemon, origin, browser) => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  const records = listen(page);
  const complaints = complaintsOf(page);
  await calibrateClaims(page, origin, records);
  await reloadClaims(page, origin);
  await claim("the console is silent", () => ensure(complaints.length === 0, complaints.join("\n")));
  await restartClaims(page, origin, daemon);
});
