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
/** A folder for sockets and profiles, removed by [`run`]. */
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

/** Waits until the text of an element matches a pattern. */
export const says = (page, id, pattern) => page.waitForFunction(
  ([id, pattern]) => new RegExp(pattern).test(document.getElementById(id)?.textContent ?? ""),
  [id, pattern],
  { timeout: PATIENCE_MS },
);

/** Waits until an element is shown. */
export const isShown = (page, id, timeout = PATIENCE_MS) => page.waitForSelector(`#${id}`, { state: "visible", timeout });

/** What the page's console is told of errors and warnings, from now on. */
export function complaintsOf(page) {
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return complaints;
}

/** A gazed of our own on the synthetic observer. */
class Daemon {
  #arguments;
  #process;

  constructor(listen, settings) {
    const chosen = settings ? ["--config", settings] : [];
    this.#arguments = (listen) => [...chosen, "run", "--source", "synthetic", "--listen", listen, "--socket", socket, "--state", folder];
    this.#start(listen);
  }

  #start(listen) {
    this.#process = spawn(gazed, this.#arguments(listen));
    const said = [];
    /** Where its page is, once it is there. */
    this.page = new Promise((found, failed) => {
      const read = (stream) => createInterface({ input: stream }).on("line", (line) => {
        said.push(line);
        const address = line.match(/https?:\/\/[0-9.:]+/);
        if (address) found(address[0]);
      });
      read(this.#process.stdout);
      read(this.#process.stderr);
      this.#process.on("error", failed);
      this.#process.on("exit", (code) => failed(new Error(`gazed ended with ${code}:\n${said.join("\n")}`)));
    });
  }

  /** Ends it; gives its exit status. */
  end(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return this.#process.exitCode;
    const end = new Promise((done) => this.#process.on("exit", (code) => done(code)));
    this.#process.kill(signal);
    return end;
  }

  /** Starts it on the same address, once it has ended. */
  async again() {
    this.#start(new URL(await this.page).host);
    await this.page;
  }
}

/** Runs the claims of one file: `body` gets a daemon, the address of its page, and a browser. */
export async function run(listen, settings, body) {
  const daemon = new Daemon(listen, settings);
  let browser;
  try {
    const origin = await daemon.page;
    browser = await chromium.launch({
      executablePath: browserPath,
      // Chromium's sandbox does not work for root.
      args: process.getuid() === 0 ? ["--no-sandbox"] : [],
    });
    await body(daemon, origin, browser);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${error.stack ?? error}`);
  } finally {
    await browser?.close();
    await daemon.end();
    rmSync(folder, { recursive: true, force: true });
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed === 0 ? 0 : 1;
  }
}
