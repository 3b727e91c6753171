// Fixations of a running gazed; needs nothing but Node. `node fixations.mjs [SOCKET]`
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

const service = "/run/gazed/gazed.sock"; // the system's service, where it runs
const own = `${process.env.XDG_RUNTIME_DIR ?? `/tmp/gazed-${process.getuid()}`}/gazed.sock`;
const path = process.argv[2] ?? (existsSync(service) ? service : own);
const daemon = createConnection(path);
daemon.write('{"type":"subscribe","types":["fixation"]}\n');
for await (const line of createInterface({ input: daemon })) {
  const record = JSON.parse(line);
  if (record.type !== "fixation" || !record.por) continue;
  const ms = (record.offset_us - record.onset_us) / 1000;
  console.log(`${record.por.x_mm.toFixed(1)} ${record.por.y_mm.toFixed(1)} mm  ${ms.toFixed(0)} ms`);
}
