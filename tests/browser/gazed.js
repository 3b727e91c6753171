// What the browser tests share: the daemon, the browser, and claims that pass or fail.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const root = resolve(import.meta.dirname, "../..");
const gazed = process.env.GAZED ?? join(root, "target/debug/gazed");
const browserPath = process.env.CHROMIUM
  ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
/** Where screenshots are left. */
export const shots = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "browser");
/** A folder for sockets and profiles, removed by [`report`]. */
export const folder = mkdtempSync(join(tmpdir(), "gazed-browser-"));
export const socket = join(folder, "gazed.sock");
mkdirSync(shots, { recursive: true });

/** Longest wait for one claim: a busy machine renders a few frames a second. */
export const PATIENCE_MS = 90_000;

let passed = 0;
let failed = 0;
export async function claim(words, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok      ${words}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${words}\n        ${String(error.message ?? error).replaceAll("\n", "\n        ")}`);
  }
}
export function ensure(holds, words) {
  if (!holds) throw new Error(words);
}

/** Counts something that went wrong outside of a claim. */
export function fail(error) {
  failed += 1;
  console.log(`FAILED  ${error.stack ?? error}`);
}

/** The last word: how many claims hold. */
export function report() {
  rmSync(folder, { recursive: true, force: true });
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** Starts gazed, with a settings file or without; gives its process and where its page is. */
export function startDaemon(listen, settings = null) {
  const chosen = settings ? ["--config", settings] : [];
  const daemon = spawn(gazed, [...chosen, "run", "--source", "synthetic", "--listen", listen, "--socket", socket, "--state", folder]);
  const said = [];
  const page = new Promise((found, failed) => {
    const read = (stream) => createInterface({ input: stream }).on("line", (line) => {
      said.push(line);
      const address = line.match(/https?:\/\/[0-9.:]+/);
      if (address) found(address[0]);
    });
    read(daemon.stdout);
    read(daemon.stderr);
    daemon.on("error", failed);
    daemon.on("exit", (code) => failed(new Error(`gazed ended with ${code}:\n${said.join("\n")}`)));
  });
  return { daemon, page };
}

export function ended(daemon) {
  return new Promise((done) => daemon.on("exit", (code) => done(code)));
}

export function launch() {
  return chromium.launch({
    executablePath: browserPath,
    // Chromium's sandbox does not work for root.
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
}
