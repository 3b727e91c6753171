// The wire format of firmware/protocol/src/wire.rs, written a second time and from its description,
// so that a mistake in one of the two shows.

const VERSION = 1

function crc32(bytes) {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return (crc ^ 0xffffffff) >>> 0
}

const le32 = (n) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24]

function cobs(bytes) {
  const out = []
  let run = []
  for (const byte of [...bytes, 0]) {
    if (byte !== 0) run.push(byte)
    if (byte === 0) {
      out.push(run.length + 1, ...run)
      run = []
    }
  }
  return out // frames are shorter than 254 bytes, so a run never is that long
}

function uncobs(bytes) {
  const out = []
  for (let at = 0; at < bytes.length; ) {
    const n = bytes[at]
    out.push(...bytes.slice(at + 1, at + n), 0)
    at += n
  }
  return out.slice(0, -1)
}

export function varint(n) {
  const out = []
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128)
  return [...out, n]
}

export const text = (word) => [word.length, ...Buffer.from(word)]

export function frame(body) {
  const covered = [VERSION, ...body]
  return [...cobs([...covered, ...le32(crc32(covered))]), 0]
}

// The body of a frame without its zero; throws when it is none.
export function open(bytes) {
  const plain = uncobs(bytes)
  const covered = plain.slice(0, -4)
  if (le32(crc32(covered)).some((byte, at) => byte !== plain[covered.length + at])) {
    throw new Error('the board sent a wrong checksum')
  }
  if (covered[0] !== VERSION) throw new Error(`the board speaks version ${covered[0]}`)
  return covered.slice(1)
}

export class Reader {
  constructor(bytes) {
    this.bytes = bytes
    this.at = 0
  }
  byte() {
    return this.bytes[this.at++]
  }
  number() {
    let n = 0
    for (let place = 1; ; place *= 128) {
      const byte = this.byte()
      n += (byte & 127) * place
      if (byte < 128) return n
    }
  }
  text() {
    const n = this.number()
    this.at += n
    return Buffer.from(this.bytes.slice(this.at - n, this.at)).toString()
  }
}
