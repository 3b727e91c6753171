// Fixations of a running gazed; needs nothing but Node. `node fixations.mjs [SOCKET]`
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

const path = process.argv[2] ?? `${process.env.XDG_RUNTIME_DIR ?? "/run/gazed"}/gazed.sock`;
const daemon = createConnection(path);
daemon.write('{"type":"subscribe","types":["fixation"]}\n');
for await (const line of createInterface({ input: daemon })) {
  const record = JSON.parse(line);
  if (record.type !== "fixation" || !record.por) continue;
  const ms = (record.offset_us - record.onset_us) / 1000;
  console.log(`${record.por.x_mm.toFixed(1)} ${record.por.y_mm.toFixed(1)} mm  ${ms.toFixed(0)} ms`);
}
