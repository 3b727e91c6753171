// Runs the Pico's image in rp2040js, speaks to it over its USB port and reads its pins.
//
//   node run.mjs gaze-rp2040.bin
//
// All times are the emulated chip's own, so the run is the same on a slow machine. Prints what it
// saw; ends with 1 when something is not as it should be.

import { readFileSync } from 'node:fs'
import { Simulator, USBCDC } from 'rp2040js'
import { Reader, frame, open, text, varint } from './wire.mjs'

const CYCLE_NS = 8 // 125 MHz
const FLASH = 0x10000000
const RAM_END = 0x20040000
const PINS = { light: 16, trigger: 17, switch: 18, lamp: 25, servo: 2 }
const SILENCE_MS = 200
const NONCE = 12345

const simulator = new Simulator()
const { rp2040: chip, clock } = simulator
chip.flash.set(readFileSync(process.argv[2]))
// The chip's boot loader would start the program by its vector table, behind the 256 bytes of its
// second stage.
const VECTORS = FLASH + 0x100
chip.core.VTOR = VECTORS
chip.core.SP = chip.readUint32(VECTORS)
chip.core.PC = chip.readUint32(VECTORS + 4) & ~1
const quiet = () => {}
chip.logger = { debug: quiet, info: quiet, warn: quiet, error: (_, message) => { throw new Error(message) } }
const now_us = () => clock.nanos / 1000

const failures = []
function check(what, is_so) {
  console.log(`${is_so ? 'ok ' : 'NOT'} ${what}`)
  if (!is_so) failures.push(what)
}

// Pins: every pulse, in microseconds.
const pulses = {}
const rose_at = {}
const level = {}
for (const [name, number] of Object.entries(PINS)) {
  pulses[name] = []
  chip.gpio[number].addListener((state) => {
    const is_high = state === 1
    if (is_high && !level[name]) rose_at[name] = now_us()
    if (!is_high && level[name]) pulses[name].push([rose_at[name], now_us()])
    level[name] = is_high
  })
}
const lengths = (name) => pulses[name].map(([from, to]) => to - from)

// The line.
const usb = new USBCDC(chip.usbCtrl)
let is_connected = false
// The program asks for bytes before the emulator's host knows its ports: such questions are kept.
const early = []
const on_read = chip.usbCtrl.onEndpointRead
chip.usbCtrl.onEndpointRead = (port, size) => {
  if (is_connected || port === 0) on_read(port, size)
  else early.push([port, size])
}
usb.onDeviceConnected = () => {
  is_connected = true
  early.forEach(([port, size]) => on_read(port, size))
}
let partial = []
let news = []
usb.onSerialData = (bytes) => {
  for (const byte of bytes) {
    if (byte !== 0) partial.push(byte)
    else if (partial.length > 0) {
      news.push(message(open(partial)))
      partial = []
    }
  }
}

function message(body) {
  const read = new Reader(body)
  read.number() // session
  read.number() // seq
  read.number() // sent at
  const kind = read.number()
  switch (kind) {
    case 0: return { kind: 'welcome', nonce: read.number(), board: read.text(), firmware: [read.byte(), read.byte(), read.byte()] }
    case 1: return { kind: 'pong', ping: read.number(), at: read.number() }
    case 2: return { kind: 'done', of: read.number() }
    case 3: return { kind: 'refused', of: read.number(), why: read.number() }
    case 4: return { kind: 'exposed', exposure: read.number(), at: read.number() }
    case 5: return { kind: 'switched', output: read.number(), is_on: read.byte() === 1, at: read.number() }
    case 6: return { kind: 'safe', why: read.number() }
    default: return { kind: 'status' }
  }
}

let seq = 0
let offset_us = null // the board's clock less the simulator's
function say(tag, body = []) {
  seq += 1
  const sent_at = offset_us === null ? [0] : [1, ...varint(Math.round(now_us() + offset_us))]
  const bytes = frame([...varint(NONCE), ...varint(seq), ...sent_at, tag, ...body])
  bytes.forEach((byte) => usb.sendSerialByte(byte))
  return seq
}
const hello = () => say(0, [...varint(NONCE), ...varint(SILENCE_MS)])
const ping = () => say(1)
const strobe = (period, trigger, delay, light) =>
  say(2, [1, ...varint(period), ...varint(trigger), ...varint(delay), ...varint(light)])
const output = (number, object, dwell, hold, rest) =>
  say(3, [number, ...text(object), ...varint(dwell), ...varint(hold), ...varint(rest), 0])
const set = (number, hold) => say(4, [number, ...varint(hold)])
const looking = (visit, object, onset) => say(5, [...varint(visit), ...text(object), ...varint(onset)])

let lowest_stack = RAM_END
let n_instructions = 0
function run_until(is_over, limit_us = 3e6) {
  const end_us = now_us() + limit_us
  while (!is_over() && now_us() < end_us) {
    if (chip.core.waiting) clock.tick(clock.nanosToNextAlarm)
    else {
      clock.tick(chip.core.executeInstruction() * CYCLE_NS)
      n_instructions += 1
      if (chip.core.SP < lowest_stack) lowest_stack = chip.core.SP
    }
  }
}
// Lets time pass with a sign of life every 40 ms.
function pass(ms, each = ping) {
  const end_us = now_us() + ms * 1000
  while (now_us() < end_us) {
    each()
    const next_us = Math.min(end_us, now_us() + 40_000)
    run_until(() => now_us() >= next_us)
  }
}
const answer = (of) => news.find((item) => item.of === of)
function ask(of) {
  run_until(() => answer(of) !== undefined)
  return answer(of)?.kind
}

run_until(() => is_connected)
check('the Pico is a USB serial port', is_connected)
hello()
run_until(() => news.some((item) => item.kind === 'welcome'))
const welcome = news.find((item) => item.kind === 'welcome')
check(`it answers as ${welcome?.board}, firmware ${welcome?.firmware.join('.')}`, welcome?.nonce === NONCE)
const sent_us = now_us()
const of = ping()
run_until(() => news.some((item) => item.kind === 'pong' && item.ping === of))
offset_us = news.find((item) => item.kind === 'pong')?.at - sent_us
check('a ping is answered within 5 ms', now_us() - sent_us < 5000)

check('a light pulse of 6 ms is refused', ask(strobe(100_000, 500, 0, 6_000)) === 'refused')
check('light for a quarter of the time is refused', ask(strobe(8_000, 500, 0, 2_000)) === 'refused')
check('and the pins stay low', pulses.light.length === 0 && !level.light && pulses.trigger.length === 0)

check('a strobe of 83 Hz with 2 ms of light, the most allowed, is taken', ask(strobe(12_000, 500, 0, 2_000)) === 'done')
pass(205)
const lit = lengths('light')
check('17 light pulses in 0.2 s, none left out', Math.abs(lit.length - 17) <= 1)
console.error(`light: ${Math.min(...lit).toFixed(0)} to ${Math.max(...lit).toFixed(0)} us`)
// The pin rises a little later in the board's turn than it falls.
check('each from 1.8 to 2.1 ms', lit.every((us) => us >= 1_800 && us < 2_100))
const [first, last] = [pulses.light[0], pulses.light.at(-1)]
const share = lit.slice(0, -1).reduce((sum, us) => sum + us, 0) / (last[0] - first[0])
check('less than a fifth of the time', share < 0.2)
check('trigger pulses from 0.4 to 0.6 ms', lengths('trigger').every((us) => us >= 400 && us < 600))
console.error(`trigger: ${Math.max(...lengths('trigger')).toFixed(0)} us at most`)
const exposed = news.filter((item) => item.kind === 'exposed').length
check('as many exposures reported as trigger pulses', Math.abs(exposed - pulses.trigger.length) <= 1)

check('the lamp is switched by hand', ask(set(1, 50)) === 'done')
pass(80)
check('for 50 ms', lengths('lamp').length === 1 && Math.abs(lengths('lamp')[0] - 50_000) < 200)
check('and has to rest then', ask(set(1, 50)) === 'refused')

check('the switch is set up for the object "yes"', ask(output(0, 'yes', 100, 5_000, 334)) === 'done')
const onset = Math.round(now_us() + offset_us)
pass(60, () => looking(1, 'yes', onset))
check('a look of 60 ms does nothing', !level.switch)
pass(60, () => looking(1, 'yes', onset))
check('after 100 ms it closes', level.switch && Math.abs(rose_at.switch + offset_us - onset - 100_000) < 200)

set(2, 5_000)
pass(60)
const servo = lengths('servo').map((us) => Math.round(us / 100) / 10)
check('the servo goes from 1.0 to 2.0 ms', servo[0] === 1 && servo.at(-1) === 2)

const silent_us = now_us()
run_until(() => !level.switch, 1e6)
const after_ms = (now_us() - silent_us) / 1000
check('silence opens the switch and stops the light', !level.switch && after_ms <= SILENCE_MS && after_ms > SILENCE_MS - 45)
const n_pulses = pulses.light.length
run_until(() => false, 60_000)
check('for good', pulses.light.length - n_pulses <= 0 && !level.light && !level.trigger && !level.lamp)

console.error(`stack: ${RAM_END - lowest_stack} bytes; ${(n_instructions / now_us()).toFixed(1)} instructions a µs`)
process.exit(failures.length === 0 ? 0 : 1)
