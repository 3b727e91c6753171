// The live page: records from /events, pictures from /picture, numbers from /status.
// In the order of the data: connect, take records, draw the picture, the screen, the chart, the words.

const WINDOW_US = 10_000_000;
const TRAIL_US = 1_200_000;
const SILENCE_MS = 1500;
/** Samples further apart than this have a silence between them. */
const JOINED_US = 400_000;

const at = (id) => document.getElementById(id);
const scheme = matchMedia("(prefers-color-scheme: dark)");
let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["text", "quiet", "good", "wait", "bad", "line-x", "line-y", "fixation", "blink", "gap", "landmark", "ray", "edge", "card"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
readColours();
scheme.addEventListener("change", readColours);

/** What each validity means to the person in front of the screen. */
const VALIDITIES = {
  valid: { words: "gaze, calibrated", tone: "good", colour: "good" },
  uncalibrated: { words: "gaze, uncalibrated: good to a few degrees", tone: "good", colour: "line-x" },
  stale_calibration: { words: "gaze; the calibration no longer holds", tone: "wait", colour: "wait" },
  low_confidence: { words: "gaze is uncertain", tone: "wait", colour: "wait" },
  eye_closed: { words: "eyes closed", tone: "wait", colour: "blink" },
  no_face: { words: "no face in the picture", tone: "bad", colour: "bad" },
};
const hasGaze = (validity) => validity !== "no_face" && validity !== "eye_closed";

// ---------------------------------------------------------------- what is known

const known = {
  header: null,
  samples: [],
  /** fixation, saccade, blink and gap records of the window. */
  events: [],
  fixations: { count: 0, total_us: 0 },
  blinks: { count: 0 },
  first_us: null,
  heardAt: 0,
  isConnected: false,
  status: null,
  scene: null,
  sceneChange: 0,
  onObjects: new Set(),
  picture: null,
};

function forgetStream() {
  Object.assign(known, { samples: [], events: [], first_us: null, picture: null });
  known.fixations = { count: 0, total_us: 0 };
  known.blinks = { count: 0 };
  known.onObjects.clear();
  at("events").replaceChildren();
}

function take(record) {
  known.heardAt = performance.now();
  switch (record.type) {
    case "header":
      // The first header of a connection begins a stream; later ones tell of another profile or source.
      if (!known.header) forgetStream();
      known.header = record;
      showHeader();
      return;
    case "sample":
      return takeSample(record);
    case "fixation":
      known.fixations.count += 1;
      known.fixations.total_us += record.offset_us - record.onset_us;
      break;
    case "blink":
      known.blinks.count += 1;
      break;
    case "event_begin":
    case "event_update":
      return;
    case "object_enter":
      known.onObjects.add(String(record.object));
      break;
    case "object_leave":
      known.onObjects.delete(String(record.object));
      break;
    case "calibration":
      return;
    case "error":
      console.warn(record.message);
      return;
  }
  known.events.push(record);
  listEvent(record);
}

function takeSample(record) {
  const last = known.samples.at(-1);
  if (last && record.t_us < last.t_us) forgetStream();
  known.first_us ??= record.t_us;
  known.samples.push({
    seq: record.seq,
    t_us: record.t_us,
    validity: record.validity,
    x: record.por?.x ?? null,
    y: record.por?.y ?? null,
    x_mm: record.por?.x_mm ?? null,
    y_mm: record.por?.y_mm ?? null,
    size_px: record.size_px,
    drift_deg: record.drift_deg,
  });
  const oldest = record.t_us - WINDOW_US - 500_000;
  while (known.samples[0].t_us < oldest) known.samples.shift();
  while (known.events.length && known.events[0].offset_us < oldest) known.events.shift();
}

/** The stream's time now: the last sample's, carried on by the clock for as long as it is silent. */
function nowUs() {
  const last = known.samples.at(-1);
  return last ? last.t_us + (performance.now() - known.heardAt) * 1000 : 0;
}

// ---------------------------------------------------------------- connections

const socketUrl = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

/** Keeps a WebSocket open for as long as it is wanted; tries again when it ends. */
function keepOpen(path, onMessage, onChange = () => {}) {
  let socket = null;
  let isWanted = false;
  let wait_ms = 250;
  function open() {
    if (!isWanted || socket) return;
    socket = new WebSocket(socketUrl(path));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wait_ms = 250;
      onChange(true);
    };
    socket.onmessage = (message) => onMessage(message.data);
    socket.onclose = async () => {
      socket = null;
      onChange(false);
      // A daemon that was started again asks for its token again.
      const answer = await fetch("/status").catch(() => null);
      if (answer?.status === 401) location.reload();
      if (isWanted) setTimeout(open, wait_ms);
      wait_ms = Math.min(wait_ms * 2, 2000);
    };
  }
  return {
    want(wanted) {
      isWanted = wanted;
      if (wanted) open();
      else socket?.close();
    },
  };
}

const events = keepOpen(
  "/events?types=",
  (text) => take(JSON.parse(text)),
  (isOpen) => {
    known.isConnected = isOpen;
    Object.assign(known, { status: null, header: null, scene: null, sceneChange: 0 });
    if (isOpen) askStatus();
  },
);
events.want(true);

// Pictures cost the daemon work, so a page that nobody sees does not ask for them.
const pictures = keepOpen("/picture", takePicture);
const wantPictures = () => pictures.want(document.visibilityState === "visible");
document.addEventListener("visibilitychange", wantPictures);
wantPictures();

let decoding = false;
async function takePicture(message) {
  if (decoding) return; // A newer one will come; never queue.
  decoding = true;
  try {
    const length = new DataView(message).getUint32(0, true);
    const overlay = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length)));
    const jpeg = new Blob([new Uint8Array(message, 4 + length)], { type: "image/jpeg" });
    const bitmap = await createImageBitmap(jpeg);
    known.picture?.bitmap.close();
    known.picture = { bitmap, overlay };
  } finally {
    decoding = false;
  }
}

async function askStatus() {
  if (!known.isConnected) return;
  try {
    const answer = await fetch("/status");
    if (!answer.ok) return;
    known.status = await answer.json();
    if (known.status.scene_change !== known.sceneChange) {
      known.scene = await (await fetch("/scene")).json();
      known.sceneChange = known.status.scene_change;
      known.onObjects.clear();
    }
    showStatus();
  } catch {
    // The daemon is gone; the WebSocket says so and comes back.
  }
}
setInterval(askStatus, 1000);

// ---------------------------------------------------------------- drawing

/** Fits a canvas to its place and clears it; gives its context in CSS pixels and its size. */
function begin(canvas) {
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const [columns, rows] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

function drawPicture() {
  const [context, width, height] = begin(at("picture"));
  const picture = known.picture;
  at("no-picture").hidden = picture !== null;
  if (!picture) return;
  const [columns, rows] = picture.overlay.size_px;
  const scale = Math.min(width / columns, height / rows);
  context.translate((width - columns * scale) / 2, (height - rows * scale) / 2);
  context.scale(scale, scale);
  if (at("mirror").checked) {
    context.translate(columns, 0);
    context.scale(-1, 1);
  }
  context.drawImage(picture.bitmap, 0, 0, columns, rows);
  if (at("overlay").checked && picture.overlay.face) {
    // The centre of the top-left pixel is 0,0.
    context.translate(0.5, 0.5);
    drawFace(context, picture.overlay.face, 1 / scale);
  }
}

/** `px` is one pixel of the page in pixels of the picture. */
function drawFace(context, face, px) {
  const [x, y, width, height] = face.box;
  context.lineJoin = context.lineCap = "round";
  context.strokeStyle = "rgb(255 255 255 / 65%)";
  context.lineWidth = 1.5 * px;
  drawCorners(context, x, y, width, height, Math.min(width, height) * 0.16);

  context.strokeStyle = colours.landmark;
  context.fillStyle = colours.landmark;
  context.lineWidth = 1.25 * px;
  const points = face.landmarks_px;
  for (const [from, to] of [[0, 16], [16, 32]]) {
    context.beginPath();
    points.slice(from, to).forEach((point) => context.lineTo(...point));
    context.closePath();
    context.stroke();
  }
  for (const point of points.slice(42)) {
    context.beginPath();
    context.arc(...point, 2 * px, 0, 7);
    context.fill();
  }
  for (const eye of [face.left, face.right]) {
    if (eye) drawEye(context, eye, face, px);
  }
}

/** The corners of a box: it frames a face without crossing it. */
function drawCorners(context, x, y, width, height, length) {
  for (const [cornerX, cornerY, along, down] of [[x, y, 1, 1], [x + width, y, -1, 1], [x, y + height, 1, -1], [x + width, y + height, -1, -1]]) {
    context.beginPath();
    context.moveTo(cornerX + along * length, cornerY);
    context.lineTo(cornerX, cornerY);
    context.lineTo(cornerX, cornerY + down * length);
    context.stroke();
  }
}

function drawEye(context, eye, face, px) {
  const [x, y, radius] = eye.iris_px;
  context.beginPath();
  context.arc(x, y, Math.max(radius, 1), 0, 7);
  context.setLineDash(eye.is_open ? [] : [3 * px, 3 * px]);
  context.strokeStyle = eye.is_open ? colours.ray : colours.blink;
  context.lineWidth = 1.5 * px;
  context.stroke();
  context.setLineDash([]);
  if (!eye.is_open || !face.gaze) return;
  // The picture shows the gaze's part across the line of sight: (cos p sin y, −sin p).
  const { yaw_rad: yaw, pitch_rad: pitch } = face.gaze;
  const length = face.box[2] * 1.1;
  const end = [x + length * Math.cos(pitch) * Math.sin(yaw), y - length * Math.sin(pitch)];
  for (const [style, line] of [["rgb(0 0 0 / 55%)", 5], [colours.ray, 2.5]]) {
    context.strokeStyle = style;
    context.lineWidth = line * px;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(...end);
    context.stroke();
  }
  context.fillStyle = colours.ray;
  context.beginPath();
  context.arc(...end, 3.5 * px, 0, 7);
  context.fill();
}

/** How much of the surroundings the small screen shows, as a share of the screen. */
const MARGIN = 0.12;

function drawScreen() {
  const canvas = at("screen");
  const size = known.header?.screen;
  if (size) canvas.style.aspectRatio = `${size.width_mm * (1 + 2 * MARGIN)} / ${size.height_mm * (1 + 2 * MARGIN)}`;
  const [context, width, height] = begin(canvas);
  const aspect = size ? size.width_mm / size.height_mm : 16 / 9;
  const screenHeight = Math.min(height / (1 + 2 * MARGIN), width / (1 + 2 * MARGIN) / aspect);
  const screenWidth = screenHeight * aspect;
  const [left, top] = [(width - screenWidth) / 2, (height - screenHeight) / 2];
  const place = (por) => [left + por.x * screenWidth, top + por.y * screenHeight];

  context.fillStyle = colours.card;
  context.strokeStyle = colours.quiet;
  context.lineWidth = 1;
  context.beginPath();
  context.roundRect(left, top, screenWidth, screenHeight, 4);
  context.fill();
  context.stroke();
  drawObjects(context, left, top, screenWidth, screenHeight);

  const now = nowUs();
  drawFixations(context, place, screenWidth, now);
  const trail = known.samples.filter((sample) => now - sample.t_us < TRAIL_US);
  context.lineWidth = 2;
  context.strokeStyle = colours["line-x"];
  for (let i = 1; i < trail.length; i++) {
    if (trail[i - 1].x === null || trail[i].x === null) continue;
    context.globalAlpha = Math.max(0, 1 - (now - trail[i].t_us) / TRAIL_US) * 0.8;
    context.beginPath();
    context.moveTo(...place(trail[i - 1]));
    context.lineTo(...place(trail[i]));
    context.stroke();
  }
  context.globalAlpha = 1;
  const last = trail.at(-1);
  if (last && last.x !== null) drawPoint(context, place(last), width, height, VALIDITIES[last.validity].colour);
}

function drawObjects(context, left, top, screenWidth, screenHeight) {
  const scene = known.scene;
  if (!scene) return;
  const [across, down] = [screenWidth / scene.width_px, screenHeight / scene.height_px];
  context.save();
  context.beginPath();
  context.rect(left, top, screenWidth, screenHeight);
  context.clip();
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "top";
  for (const object of scene.objects) {
    const [x, y, width, height] = object.box;
    const isLookedAt = known.onObjects.has(String(object.id));
    const box = [left + x * across, top + y * down, width * across, height * down];
    context.strokeStyle = isLookedAt ? colours.good : colours.quiet;
    context.lineWidth = isLookedAt ? 2 : 1;
    context.fillStyle = context.strokeStyle;
    context.globalAlpha = isLookedAt ? 0.25 : 0.08;
    context.fillRect(...box);
    context.globalAlpha = 1;
    context.strokeRect(...box);
    if (box[2] > 24 && box[3] > 12) context.fillText(String(object.class ?? object.id), box[0] + 3, box[1] + 2, box[2] - 6);
  }
  context.restore();
}

/** The last fixations: a circle's area is the fixation's length. */
function drawFixations(context, place, screenWidth, now) {
  const recent = known.events.filter((event) => event.type === "fixation" && event.por).slice(-6);
  for (const fixation of recent) {
    const age = (now - fixation.offset_us) / WINDOW_US;
    const radius = screenWidth * 0.045 * Math.sqrt((fixation.offset_us - fixation.onset_us) / 400_000);
    context.beginPath();
    context.arc(...place(fixation.por), Math.min(radius, screenWidth * 0.12), 0, 7);
    context.fillStyle = context.strokeStyle = colours.fixation;
    context.globalAlpha = 0.22 * Math.max(0.15, 1 - age * 2);
    context.fill();
    context.globalAlpha = 0.8 * Math.max(0.15, 1 - age * 2);
    context.lineWidth = 1;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** The point of regard; an open ring at the border when it is further out than the canvas shows. */
function drawPoint(context, [x, y], width, height, colour) {
  const [shownX, shownY] = [Math.min(Math.max(x, 7), width - 7), Math.min(Math.max(y, 7), height - 7)];
  const isInside = shownX === x && shownY === y;
  context.beginPath();
  context.arc(shownX, shownY, 6, 0, 7);
  context.lineWidth = 2;
  context.strokeStyle = isInside ? colours.card : colours[colour];
  context.fillStyle = isInside ? colours[colour] : colours.card;
  context.fill();
  context.stroke();
}

/** Rows of the chart, in shares of its height. */
const ROWS = { x: [0.02, 0.41], y: [0.43, 0.82], validity: [0.85, 0.9] };

function drawChart() {
  const [context, width, height] = begin(at("chart"));
  const now = nowUs();
  const left = 46;
  const across = (t_us) => left + (1 - (now - t_us) / WINDOW_US) * (width - left);
  context.font = "11px system-ui, sans-serif";

  drawChartFrame(context, left, width, height);
  context.save();
  context.beginPath();
  context.rect(left, 0, width - left, height);
  context.clip();
  drawIntervals(context, across, height);
  drawValidity(context, across, height);
  drawLine(context, across, height, "x");
  drawLine(context, across, height, "y");
  context.restore();
}

function drawChartFrame(context, left, width, height) {
  context.strokeStyle = colours.edge;
  context.fillStyle = colours.quiet;
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const name of ["x", "y"]) {
    const [top, bottom] = ROWS[name].map((share) => share * height);
    for (const [value, label] of EDGES[name]) {
      const y = Math.round(rowPlace(name, value, height)) + 0.5;
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(width, y);
      context.stroke();
      context.fillText(label, left - 6, y);
    }
    context.fillStyle = colours[`line-${name}`];
    context.fillText(name, left - 6, (top + bottom) / 2);
    context.fillStyle = colours.quiet;
  }
  context.textAlign = "center";
  context.textBaseline = "bottom";
  for (let s = 0; s <= 10; s += 2) {
    const x = left + (1 - s / 10) * (width - left);
    context.textAlign = s === 0 ? "right" : s === 10 ? "left" : "center";
    context.fillText(s === 0 ? "now" : `−${s} s`, x, height - 1);
  }
}

/** What the screen's edges are called. */
const EDGES = { x: [[0, "left"], [1, "right"]], y: [[0, "top"], [1, "bottom"]] };

/** Where 0..1 of the screen lies in its row; what is further out lies at the row's border. */
function rowPlace(name, value, height) {
  const [top, bottom] = ROWS[name].map((share) => share * height);
  const shown = Math.min(Math.max(value, -MARGIN), 1 + MARGIN);
  return top + ((shown + MARGIN) / (1 + 2 * MARGIN)) * (bottom - top);
}

/** How intervals are shaded, in the order of drawing: opacity, and the share of the height. */
const BANDS = { fixation: [0.22, 1], pursuit: [0.22, 1], gap: [0.4, 1], saccade: [1, 0.04], blink: [0.55, 1] };

function drawIntervals(context, across, height) {
  const bottom = ROWS.y[1] * height;
  for (const [kind, [opacity, share]] of Object.entries(BANDS)) {
    context.fillStyle = colours[kind] ?? colours.quiet;
    for (const event of known.events) {
      if (event.type !== kind) continue;
      const x = across(event.onset_us);
      const width = Math.max(1, across(event.offset_us) - x);
      context.globalAlpha = opacity;
      context.fillRect(x, bottom * (1 - share), width, bottom * share);
      context.globalAlpha = 1;
      if (kind !== "blink") continue;
      context.textAlign = "center";
      context.textBaseline = "top";
      context.fillText("blink", x + width / 2, 2);
    }
  }
}

function drawValidity(context, across, height) {
  const [top, bottom] = ROWS.validity.map((share) => share * height);
  let from = 0;
  for (let i = 0; i < known.samples.length; i++) {
    const { validity, t_us } = known.samples[i];
    const next = known.samples[i + 1];
    // A sample counts until the next one, but not across a silence; equal ones are one stretch.
    const until = Math.min(next ? next.t_us : nowUs(), t_us + JOINED_US);
    if (next && until === next.t_us && next.validity === validity) continue;
    const x = across(known.samples[from].t_us);
    context.fillStyle = colours[VALIDITIES[validity].colour];
    context.fillRect(x, top, across(until) - x, bottom - top);
    from = i + 1;
  }
}

function drawLine(context, across, height, name) {
  context.strokeStyle = colours[`line-${name}`];
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  context.beginPath();
  let isDown = false;
  let last_us = 0;
  for (const sample of known.samples) {
    if (sample[name] === null) {
      isDown = false;
      continue;
    }
    const isJoined = isDown && sample.t_us - last_us <= JOINED_US;
    const point = [across(sample.t_us), rowPlace(name, sample[name], height)];
    if (isJoined) context.lineTo(...point);
    else context.moveTo(...point);
    isDown = true;
    last_us = sample.t_us;
  }
  context.stroke();
}

// ---------------------------------------------------------------- words

function show(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function showPill(id, words, tone) {
  show(id, words);
  at(id).dataset.tone = tone;
}

const ms = (us) => (us / 1000).toFixed(us < 10_000 ? 1 : 0);

function showHeader() {
  const { program, source, user, screen, models } = known.header;
  show("source", source);
  document.title = `gazed · ${source}`;
  show("user", user ?? "none (uncalibrated)");
  const pixels = screen.width_px && screen.height_px ? `, ${screen.width_px} × ${screen.height_px} px` : "";
  show("screen-size", `${Math.round(screen.width_mm)} × ${Math.round(screen.height_mm)} mm${pixels}`);
  show("models", models.map((model) => model.name).join(", ") || "–");
  at("models").title = models.map((model) => `${model.name} sha256 ${model.sha256}`).join("\n");
  show("program", program);
}

function showStatus() {
  const { counters, stages, clients, frame_rate } = known.status;
  show("frame-rate", frame_rate === null ? "–" : frame_rate.toFixed(1));
  const whole = stages.end_to_end;
  show("latency", whole ? ms(whole.p50_us) : "–");
  show("latency-p95", whole ? `95 %: ${ms(whole.p95_us)}` : "");
  const share = counters.frames_captured ? (100 * counters.frames_replaced) / counters.frames_captured : 0;
  show("skipped", String(counters.frames_replaced));
  show("skipped-share", counters.frames_captured ? `${share.toFixed(share < 10 ? 1 : 0)} %` : "");
  show("vision", stages.vision ? `${ms(stages.vision.p50_us)} ms (95 %: ${ms(stages.vision.p95_us)})` : "–");
  show("clients", String(clients.length));
  show("dropped", String(counters.samples_dropped + counters.client_samples_dropped));
}

function showNumbers() {
  const last = known.samples.at(-1);
  const now = nowUs();
  const recent = known.samples.filter((sample) => now - sample.t_us < WINDOW_US);
  const found = recent.filter((sample) => hasGaze(sample.validity)).length;
  show("gaze-share", recent.length ? String(Math.round((100 * found) / recent.length)) : "–");
  show("fixations", String(known.fixations.count));
  const { count, total_us } = known.fixations;
  show("fixation-mean", count ? `mean ${Math.round(total_us / count / 1000)} ms` : "");
  show("blinks", String(known.blinks.count));
  const minutes = last ? (last.t_us - known.first_us) / 60e6 : 0;
  show("blink-rate", minutes > 0.25 ? `${(known.blinks.count / minutes).toFixed(0)} /min` : "");
  show("picture-size", last && last.size_px[0] ? `${last.size_px[0]} × ${last.size_px[1]} px` : "–");
  show("drift", last && last.drift_deg !== null ? `${last.drift_deg.toFixed(1)}°` : "–");
  at("stale").hidden = last?.validity !== "stale_calibration";
  const stale = known.header?.calibration?.stale;
  if (stale) show("stale-why", stale.message);
  const canRecentre = stale?.can_recentre ?? true;
  at("stale-recentre").hidden = !canRecentre;
  at("recentre").hidden = !canRecentre || !["valid", "stale_calibration"].includes(last?.validity);
  show("por", last && last.x !== null ? `${last.x_mm.toFixed(0)}, ${last.y_mm.toFixed(0)} mm` : "");
}

function showState() {
  const last = known.samples.at(-1);
  const isSilent = performance.now() - known.heardAt > SILENCE_MS;
  const verdict = last && !isSilent && known.isConnected ? VALIDITIES[last.validity] : null;
  at("verdict").hidden = verdict === null;
  at("camera").classList.toggle("stale", isSilent || !known.isConnected);
  if (verdict) showPill("verdict", verdict.words, verdict.tone);

  const state = known.status?.state;
  if (!known.isConnected) showPill("state", "no connection to gazed; trying again …", "bad");
  else if (state?.activity === "source_lost") showPill("state", `camera lost: ${state.message}`, "bad");
  else if (state?.activity === "idle") showPill("state", `idle: ${state.message}`, "wait");
  else if (!last) showPill("state", "waiting for the first frame …", "wait");
  else if (isSilent) showPill("state", "no frames for a while …", "wait");
  else showPill("state", "live", "good");
}

/** Events that the list keeps; the card shows as many as fit. */
const LISTED = 12;

function listEvent(record) {
  const words = describe(record);
  if (!words) return;
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = `${(record.onset_us / 1e6).toFixed(2)} s`;
  const kind = document.createElement("span");
  kind.className = record.type.startsWith("object") ? "object" : record.type;
  kind.textContent = record.type.replace("_", " ");
  const detail = document.createElement("span");
  detail.textContent = words;
  item.append(time, kind, detail);
  const list = at("events");
  list.prepend(item);
  while (list.childElementCount > LISTED) list.lastElementChild.remove();
}

function describe(record) {
  const length = `${Math.round((record.offset_us - record.onset_us) / 1000)} ms`;
  const where = record.por ? ` at ${record.por.x_mm.toFixed(0)}, ${record.por.y_mm.toFixed(0)} mm` : "";
  switch (record.type) {
    case "fixation": return `${length}${where}`;
    case "saccade": return `${record.amplitude_deg.toFixed(1)}°, peak ${record.peak_velocity_deg_s.toFixed(0)} °/s`;
    case "pursuit": return `${length}, ${record.amplitude_deg.toFixed(1)}°${where}`;
    case "blink": return length;
    case "gap": return `${length} without gaze`;
    case "object_enter": return String(record.object);
    case "object_leave": return `${record.object}, after ${Math.round(record.dwell_us / 1000)} ms`;
    default: return null;
  }
}

// ---------------------------------------------------------------- the loop

let wordsAt = 0;
function frame(time) {
  drawPicture();
  drawScreen();
  drawChart();
  if (time - wordsAt > 200) {
    wordsAt = time;
    showNumbers();
    showState();
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

// One key for each: c calibrates, r recentres.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "c") location.assign("/calibrate");
  if (event.key === "r" && !at("recentre").hidden) location.assign("/calibrate#recentre");
});

for (const id of ["mirror", "overlay"]) {
  const box = at(id);
  box.checked = localStorage.getItem(id) !== "off";
  box.addEventListener("change", () => localStorage.setItem(id, box.checked ? "on" : "off"));
}
