// The calibration page. gazed's session decides what is shown; this page shows it and passes on
// what the person wants. In the order of a calibration: options, screen, placing, targets, review.

const at = (id) => document.getElementById(id);
const VIEWS = ["setup", "ruler", "placing", "stage", "paused", "review", "done"];
const isRecentring = location.hash === "#recentre";

/** Width of a bank card (ISO/IEC 7810 ID-1), mm. */
const CARD_MM = 85.6;

let record = null; // The latest calibration record.
let shownAt = 0; // When its target appeared.
let wasTaken = null; // The target before: it fades where it was.
let hasStarted = false; // Whether this page has asked for anything yet.

function view(name) {
  for (const id of VIEWS) at(id).hidden = id !== name;
  if (current !== name) {
    current = name;
    at(name).querySelector(".primary:not(:disabled), input")?.focus();
  }
}
let current = null;

// ---------------------------------------------------------------- the screen's size

/** Pixels of the whole screen. */
const screenPx = () => [Math.round(screen.width * devicePixelRatio), Math.round(screen.height * devicePixelRatio)];

/** The screen as gazed is told: measured once and kept, or as its EDID says. */
function knownScreen() {
  const kept = JSON.parse(localStorage.getItem("screen") ?? "null");
  const [width_px, height_px] = screenPx();
  if (!kept || kept.width_px !== width_px || kept.height_px !== height_px) return null;
  return kept;
}

function keepScreen(width_mm, source) {
  const [width_px, height_px] = screenPx();
  const round = (mm) => Math.round(mm * 10) / 10;
  const kept = { width_mm: round(width_mm), height_mm: round((width_mm * height_px) / width_px), width_px, height_px, source };
  localStorage.setItem("screen", JSON.stringify(kept));
  return kept;
}

async function askEdid() {
  try {
    const screens = await (await fetch("/screens")).json();
    const [width_px, height_px] = screenPx();
    const same = screens.filter((one) => one.width_px === width_px && one.height_px === height_px);
    if (same.length === 1) keepScreen(same[0].width_mm, `as ${same[0].connector} says`);
  } catch {
    // The page says that there is no connection.
  }
}

function showScreen() {
  const known = knownScreen();
  at("screen-known").textContent = known
    ? `Screen: ${known.width_mm.toFixed(0)} × ${known.height_mm.toFixed(0)} mm, ${known.width_px} × ${known.height_px} px (${known.source}).`
    : "The screen's size is not known yet: it is asked next.";
  at("measure").hidden = !known;
}

function showCard() {
  const width = Number(at("card-width").value);
  at("bank-card").style.width = `${width}px`;
  const width_mm = (screen.width * CARD_MM) / width;
  at("screen-found").textContent = `The screen is then ${width_mm.toFixed(0)} × ${((width_mm * screen.height) / screen.width).toFixed(0)} mm.`;
}
at("card-width").addEventListener("input", showCard);
at("measure").addEventListener("click", () => {
  showCard();
  view("ruler");
});
at("measured").addEventListener("click", () => {
  keepScreen((screen.width * CARD_MM) / Number(at("card-width").value), "measured with a card");
  start();
});

// ---------------------------------------------------------------- talking to gazed

let socket = null;
let hasHeader = false;
function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/events?types=calibration`);
  socket.onopen = () => {
    complain(null);
    hasHeader = false;
    // After a restart nothing is under way; a session that still is comes right behind the header.
    if (current !== "done") record = null;
  };
  socket.onmessage = (message) => take(JSON.parse(message.data));
  socket.onclose = async () => {
    complain("no connection to gazed; trying again …");
    // A daemon that was started again asks for its token again.
    const answer = await fetch("/status").catch(() => null);
    if (answer?.status === 401) location.reload();
    setTimeout(connect, 500);
  };
}

function say(message) {
  hasStarted = true;
  complain(null);
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}
const ask = (what, more = {}) => say({ type: "calibrate", do: what, ...more });

function complain(words) {
  at("trouble").hidden = words === null;
  at("trouble").textContent = words ?? "";
}

function take(message) {
  if (message.type === "error") return complain(message.message);
  if (message.type === "header") {
    // Later ones tell of another profile or source.
    if (hasHeader) return;
    hasHeader = true;
    if (!record && isRecentring && !hasStarted) say({ type: "recentre" });
    else if (!record) openSetup(message.user);
    return;
  }
  if (message.type !== "calibration") return;
  const before = record?.target;
  const now = message.target;
  if (now && (before?.x !== now.x || before?.y !== now.y || before?.attempt !== now.attempt) && !now.is_moving) {
    wasTaken = before && !before.is_moving ? { ...before, at: performance.now() } : null;
    shownAt = performance.now();
  }
  record = message;
  show();
}

function show() {
  switch (record.stage) {
    case "placing":
      showPlacing();
      return view("placing");
    case "target":
    case "waiting":
      at("whisper").textContent = record.message ?? "";
      return view("stage");
    case "paused":
      at("pause-reason").textContent = record.message ?? "";
      showPlacement("pause-placement");
      return view("paused");
    case "review":
      showResult();
      return view("review");
    case "accepted":
      return finish(record.purpose === "recentre" ? "Recentred" : "Calibrated", record.message);
    case "discarded":
      return finish(record.purpose === "recentre" ? "Not recentred" : "Discarded", record.message);
  }
}

function finish(words, detail) {
  at("done-words").textContent = words;
  at("done-detail").textContent = detail ?? "";
  at("undo").hidden = record?.stage !== "accepted";
  document.exitFullscreen?.().catch(() => {});
  view("done");
}

// ---------------------------------------------------------------- options

function openSetup(user) {
  at("user").value ||= user ?? localStorage.getItem("user") ?? "";
  showScreen();
  view("setup");
}

at("options").addEventListener("submit", (event) => {
  event.preventDefault();
  localStorage.setItem("user", at("user").value);
  if (knownScreen()) return start();
  showCard();
  view("ruler");
});

async function start() {
  // Targets are placed on the whole screen; without full screen they are placed as well as can be.
  await document.documentElement.requestFullscreen?.().catch(() => {});
  const { width_mm, height_mm, width_px, height_px } = knownScreen();
  const targets = at("targets").value;
  ask("start", {
    user: at("user").value,
    ...(targets === "pursuit" ? { pursuit: true } : { targets: Number(targets) }),
    eyes: at("eyes").value,
    slow: isSlow(),
    seed: Math.floor(Math.random() * 2 ** 32),
    screen: { width_mm, height_mm, width_px, height_px },
  });
}
const isSlow = () => at("pace").value === "slow";

// ---------------------------------------------------------------- placing

function showPlacement(id) {
  const { is_good = false, words = "looking for your face …", distance_mm = null } = record.placement ?? {};
  at(id).textContent = distance_mm ? `${words} · ${(distance_mm / 10).toFixed(0)} cm` : words;
  at(id).dataset.tone = is_good ? "good" : "wait";
}

function showPlacing() {
  showPlacement("placement");
  const isThere = Boolean(record.placement?.face);
  const wasDisabled = at("begin").disabled;
  at("begin").disabled = !isThere;
  if (wasDisabled && isThere) at("begin").focus();
}

let picture = null;
let decoding = false;
let pictures = null;
/** The camera's picture is asked for while it is looked at only. */
function wantPictures(isWanted) {
  if (isWanted === Boolean(pictures)) return;
  if (!isWanted) {
    pictures.close();
    pictures = null;
    return;
  }
  pictures = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/picture`);
  pictures.binaryType = "arraybuffer";
  pictures.onclose = () => { pictures = null; };
  pictures.onmessage = async ({ data }) => {
    if (decoding) return;
    decoding = true;
    try {
      const length = new DataView(data).getUint32(0, true);
      const overlay = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
      picture?.bitmap.close();
      picture = { bitmap, size: overlay.size_px };
    } finally {
      decoding = false;
    }
  };
}

function begin(canvas) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [columns, rows] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/** The person as in a mirror, and where the face should be. */
function drawMirror() {
  const [context, width, height] = begin(at("mirror"));
  if (picture) {
    const [columns, rows] = picture.size;
    const scale = Math.min(width / columns, height / rows);
    context.save();
    context.translate(width / 2, height / 2);
    context.scale(-scale, scale);
    context.drawImage(picture.bitmap, -columns / 2, -rows / 2, columns, rows);
    context.restore();
  }
  const isGood = record?.placement?.is_good;
  context.strokeStyle = isGood ? "#2dd4a7" : "#f3c14b";
  context.lineWidth = 4;
  context.setLineDash(isGood ? [] : [12, 9]);
  context.beginPath();
  context.ellipse(width / 2, height * 0.5, height * 0.24, height * 0.33, 0, 0, 7);
  context.stroke();
  context.setLineDash([]);
}

// ---------------------------------------------------------------- targets

/** A place of the screen, shares of it, in this window's pixels. */
function place([x, y]) {
  const isFull = document.fullscreenElement !== null || (innerWidth >= screen.width && innerHeight >= screen.height);
  const left = isFull ? 0 : screenX + (outerWidth - innerWidth) / 2;
  const top = isFull ? 0 : screenY + (outerHeight - innerHeight);
  return [x * screen.width - left, y * screen.height - top];
}

const APPEAR_MS = 450;

function drawTarget() {
  const [context, width, height] = begin(at("field"));
  const target = record?.target;
  const large = isSlow() ? 2 : 1;
  if (wasTaken) {
    const share = (performance.now() - wasTaken.at) / 220;
    if (share < 1) {
      context.globalAlpha = 1 - share;
      context.strokeStyle = "#ffd23f";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(...place([wasTaken.x, wasTaken.y]), (7 + 26 * share) * large, 0, 7);
      context.stroke();
      context.globalAlpha = 1;
    }
  }
  if (!target) return;
  const [x, y] = place([target.x, target.y]);
  if (x < 0 || y < 0 || x > width || y > height) complain("the target is outside of this window: make it full screen (F11)");
  const age = performance.now() - shownAt;
  const appear = target.is_moving ? 1 : Math.min(age / APPEAR_MS, 1);
  const shrink = target.is_moving ? 0.6 : target.progress;
  const outer = (46 - 18 * appear - 18 * shrink) * large;
  context.fillStyle = "#ffd23f";
  context.beginPath();
  context.arc(x, y, outer, 0, 7);
  context.fill();
  context.fillStyle = "#23282d";
  context.beginPath();
  context.arc(x, y, Math.max(outer * 0.42, 4 * large), 0, 7);
  context.fill();
  context.fillStyle = "#ffffff";
  context.beginPath();
  context.arc(x, y, 2.4 * large, 0, 7);
  context.fill();
}

// ---------------------------------------------------------------- review

const number = (value, digits, unit) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`);

/** A length on the screen, in cm and, where the resolution is known, in px. */
function onScreen(cm, px, before = "") {
  if (cm === null) return "";
  return `${before}${cm.toFixed(1)} cm${px === null ? "" : `, ${px.toFixed(0)} px`}`;
}

function showResult() {
  const result = record.result;
  if (!result || shownResult === JSON.stringify(result)) return;
  shownResult = JSON.stringify(result);
  at("verdict").textContent = result.can_accept ? `Result: ${result.verdict}` : result.verdict;
  at("accept").disabled = !result.can_accept;
  (result.can_accept ? at("accept") : at("repeat")).focus();
  const tiles = [
    ["Accuracy", number(result.accuracy_deg, 2, "°"), onScreen(result.accuracy_cm, result.accuracy_px)],
    ["Precision", number(result.precision_sd_deg, 2, "°"), `SD${onScreen(result.precision_sd_cm, result.precision_sd_px, ", ")}; from sample to sample ${number(result.precision_rms_s2s_deg, 2, "°")}`],
    ["Without calibration", number(result.uncalibrated_deg, 1, "°"), ""],
    ["Data loss", number(result.data_loss * 100, 0, "%"), "blinks and the like"],
  ];
  at("numbers").replaceChildren(...tiles.map(([name, value, more]) => {
    const tile = document.createElement("div");
    tile.append(element("dt", name), element("dd", value), element("small", more));
    return tile;
  }));
  at("why").textContent = result.model ? `Model: ${result.model}, ${result.reason}.` : "";
  at("rows").replaceChildren(...result.targets.map(resultRow));
  drawMap(result);
}
let shownResult = null;

function element(name, words) {
  const made = document.createElement(name);
  made.textContent = words;
  return made;
}

function resultRow(target) {
  const row = document.createElement("tr");
  const where = element("td", `${(target.target[0] * 100).toFixed(0)}, ${(target.target[1] * 100).toFixed(0)} %`);
  where.className = `key ${target.is_validation ? "judged" : "fitted"}`;
  const again = element("button", "again");
  again.addEventListener("click", () => ask("redo", { index: target.index }));
  const last = document.createElement("td");
  last.append(again);
  const both = (deg, cm, px) => element("td", number(deg, 2, "°") + onScreen(cm, px, ", "));
  row.append(
    where,
    both(target.accuracy_deg, target.accuracy_cm, target.accuracy_px),
    both(target.precision_sd_deg, target.precision_sd_cm, target.precision_sd_px),
    last,
  );
  return row;
}

function drawMap(result) {
  const ratio = screen.height / screen.width;
  const map = at("map");
  map.setAttribute("viewBox", `-4 ${-4 * ratio} 108 ${108 * ratio}`);
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const parts = [make("rect", { x: 0, y: 0, width: 100, height: 100 * ratio, fill: "none", stroke: "#3a444e", "stroke-width": 0.3 })];
  for (const target of result.targets) {
    const colour = target.is_validation ? "#2dd4a7" : "#56b4e9";
    const [x, y] = [target.target[0] * 100, target.target[1] * 100 * ratio];
    const group = make("g", { class: "target", tabindex: 0 });
    group.append(make("circle", { cx: x, cy: y, r: 1.5, fill: "none", stroke: colour, "stroke-width": 0.35 }), make("circle", { cx: x, cy: y, r: 0.3, fill: colour }));
    if (target.gaze) {
      const [gx, gy] = [target.gaze[0] * 100, target.gaze[1] * 100 * ratio];
      group.append(make("line", { x1: x, y1: y, x2: gx, y2: gy, stroke: colour, "stroke-width": 0.35 }), make("circle", { cx: gx, cy: gy, r: 0.8, fill: colour }));
      const label = make("text", { x: x + 2, y: y - 1.6, fill: "#9fadb9", "font-size": 2.3 });
      label.textContent = target.accuracy_deg === null ? "" : `${target.accuracy_deg.toFixed(1)}°`;
      group.append(label);
    } else if (target.precision_sd_deg === null) {
      // Without gaze; one that the model needed itself has gaze, and no model that has not seen it.
      const label = make("text", { x: x + 2, y: y - 1.6, fill: "#ff8080", "font-size": 2.3 });
      label.textContent = "missed";
      group.append(label);
    }
    group.addEventListener("click", () => ask("redo", { index: target.index }));
    parts.push(group);
  }
  map.replaceChildren(...parts);
}

// ---------------------------------------------------------------- buttons, keys, one switch

const BUTTONS = {
  begin: () => ask("next"),
  "cancel-placing": () => ask("discard"),
  resume: () => ask("resume"),
  redo: () => ask("redo"),
  "cancel-paused": () => ask("discard"),
  accept: () => ask("accept"),
  repeat: () => ask("repeat"),
  discard: () => ask("discard"),
  undo: () => {
    say({ type: "undo", profile: true });
    finish("Taken back", "What was in force before is in force again.");
    at("undo").hidden = true;
  },
  again: () => {
    record = null;
    shownResult = null;
    history.replaceState(null, "", "/calibrate");
    openSetup(null);
  },
};
for (const [id, press] of Object.entries(BUTTONS)) at(id).addEventListener("click", press);

document.addEventListener("keydown", (event) => {
  if (event.repeat) return;
  const isTyping = ["INPUT", "SELECT"].includes(event.target.tagName) && !["checkbox", "range"].includes(event.target.type);
  if (isTyping && event.key !== "Escape") return;
  const onStage = current === "stage";
  if (event.key === "Escape" && record && !["accepted", "discarded"].includes(record.stage)) ask("discard");
  else if (onStage && (event.key === " " || event.key === "Enter")) ask("pause");
  else if (onStage && event.key === "Backspace") ask("redo");
  else if ((event.key === " " || event.key === "Enter") && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) {
    // A switch presses the first button, wherever the focus is.
    at(current)?.querySelector(".primary:not(:disabled)")?.click();
  } else return;
  event.preventDefault();
});

/** For one switch: the focus goes from button to button by itself. */
const SCAN_MS = 1800;
setInterval(() => {
  if (!at("scan").checked || !current || current === "setup" || current === "stage") return;
  const buttons = [...at(current).querySelectorAll(":scope > button:not(:disabled), :scope > a.button")];
  const next = (buttons.indexOf(document.activeElement) + 1) % buttons.length;
  buttons[next]?.focus();
}, SCAN_MS);
at("scan").checked = localStorage.getItem("scan") === "on";
at("scan").addEventListener("change", () => localStorage.setItem("scan", at("scan").checked ? "on" : "off"));

// ---------------------------------------------------------------- the loop

function frame() {
  wantPictures(current === "placing" && document.visibilityState === "visible");
  if (current === "placing") drawMirror();
  if (current === "stage") drawTarget();
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

if (!knownScreen()) await askEdid();
connect();
