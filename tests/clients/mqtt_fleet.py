"""What many devices on one broker cost: `python mqtt_fleet.py [--devices 1000] [--seconds 20] [--no-samples]`.

Starts mosquitto on a free port and plays that many gazed devices to it, each on a connection of its own, with the
topics, payloads and qualities that `gazed` uses: 30 samples, 3 fixations with their beginnings and updates, 2 saccades
and a change of `looking` in ten seconds a device. One subscriber takes every message of all. Prints the broker's
share of a core, its memory, the messages and bytes a second, and how late they are at the subscriber.

MQTT is spoken by hand here, because a client library for each device would be the load that is measured.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import struct
import subprocess
import time

SAMPLE = {
    "type": "sample", "seq": 1234, "frame": 1234, "size_px": [640, 480], "t_us": 41133333, "validity": "valid",
    "face": {"box": [203.8, 112.1, 231.4, 231.4], "confidence": 0.99},
    "eyes": {side: {"center_px": [364.3, 206.1], "iris_px": [365.2, 205.4, 8.3], "openness": 0.82, "confidence": 0.97}
             for side in ("left", "right")},
    "head": {"position_mm": [0.7, -22.4, 588.2], "yaw_rad": 0.0211, "pitch_rad": -0.0324, "roll_rad": 0.0088},
    "gaze": {"yaw_rad": 0.1023, "pitch_rad": -0.1312, "sigma_rad": 0.0377, "origin_mm": [0.7, -22.4, 588.2]},
    "features": [0.0123, -0.0431, 0.1093, -0.2011, 0.0456, 0.0912, 0.0331, -0.0872],
    "por": {"x_mm": 204.1, "y_mm": 99.8, "x": 0.38436, "y": 0.33377}, "latency_us": 15321, "drift_deg": None,
}
POR = {"x_mm": 212.4, "y_mm": 97.1, "x": 0.4, "y": 0.32}
OPEN = {"id": 7, "event": "fixation", "onset_us": 1233333, "until_us": 1566666, "por": POR}
FIXATION = {"type": "fixation", "onset_us": 1233333, "offset_us": 1566666, "por": POR, "dispersion_deg": 1.1, "id": 7}
SACCADE = {"type": "saccade", "onset_us": 1566666, "offset_us": 1600000, "por": POR, "amplitude_deg": 6.2,
           "peak_velocity_deg_s": 240.0, "id": 8}
# Kind, record, how many a second, quality of service.
SAMPLES = [("sample", SAMPLE, 30, 0)]
EVENTS = [
    ("event_begin", {"type": "event_begin", **OPEN}, 5, 1), ("event_update", {"type": "event_update", **OPEN}, 6, 1),
    ("fixation", FIXATION, 3, 1), ("saccade", SACCADE, 2, 1), ("looking", None, 0.1, 1),
]


def text(value):
    value = value.encode()
    return struct.pack(">H", len(value)) + value


def packet(kind, body):
    length, size = b"", len(body)
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def connect(name):
    # Version 5, clean start, last will with quality 1, kept, as gazed has it.
    will = b"\x00" + text(f"gazed/{name}/status") + text("offline")
    return packet(0x10, text("MQTT") + b"\x05\x2e" + struct.pack(">H", 60) + b"\x00" + text(f"gazed-{name}") + will)


class Packets:
    """Whole packets out of a stream of bytes."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        start, buffer = 0, self.buffer
        while len(buffer) >= start + 2:
            length, shift, at = 0, 0, start + 1
            while at < len(buffer):
                digit = buffer[at]
                length |= (digit & 127) << shift
                shift += 7
                at += 1
                if digit < 128:
                    break
            else:
                break
            if len(buffer) < at + length:
                break
            yield buffer[start], bytes(buffer[at:at + length])
            start = at + length
        del buffer[:start]


class Device(asyncio.Protocol):
    def __init__(self, number, kinds, counts):
        self.name, self.kinds, self.counts = f"d{number}", kinds, counts
        self.number, self.packets, self.ready = 0, Packets(), asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(connect(self.name))

    def connection_lost(self, error):
        self.counts["lost"] += error is not None

    def data_received(self, data):
        for kind, _ in self.packets.feed(data):
            if kind >> 4 == 2:
                self.ready.set_result(None)
            elif kind >> 4 == 4:
                self.counts["acknowledged"] += 1

    def publish(self, kind, record, quality):
        # The time of sending is where the daemon has the time of capture.
        stamp = time.monotonic_ns() // 1000
        payload = b"ON" if record is None else record[:-1] + b',"mono_us":%d,"unix_us":1790000000000000}' % stamp
        number = b""
        if quality:
            self.number = self.number % 65535 + 1
            number = struct.pack(">H", self.number)
        body = text(f"gazed/{self.name}/{kind}") + number + b"\x00" + payload
        self.transport.write(packet(0x30 | quality << 1 | (kind == "looking"), body))
        self.counts["sent"] += 1
        self.counts["bytes"] += len(body)

    async def play(self, start, seconds, phase):
        turns = sorted(
            ((n + phase) / rate, kind, record, quality)
            for kind, record, rate, quality in self.kinds for n in range(int(seconds * rate))
        )
        for at, kind, record, quality in turns:
            if (wait := start + at - time.monotonic()) > 0.002:
                await asyncio.sleep(wait)
            self.publish(kind, record, quality)


class Subscriber(asyncio.Protocol):
    def __init__(self):
        self.packets, self.late_us, self.heard = Packets(), [], 0
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(packet(0x10, text("MQTT") + b"\x05\x02" + struct.pack(">H", 600) + b"\x00" + text("all")))
        transport.write(packet(0x82, b"\x00\x01\x00" + text("gazed/#") + b"\x00"))

    def data_received(self, data):
        now = time.monotonic_ns() // 1000
        for kind, body in self.packets.feed(data):
            if kind >> 4 == 9:
                self.ready.set_result(None)
            if kind >> 4 == 3:
                self.heard += 1
                at = body.rfind(b'"mono_us":')
                if at > 0:
                    self.late_us.append(now - int(body[at + 10:body.index(b",", at)]))


def of_process(pid):
    """CPU seconds and resident memory in MiB."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def subscribe(port, ready, stop, answer):
    """In a process of its own, so that the load does not count as lateness."""
    loop = asyncio.get_running_loop()
    _, subscriber = await loop.create_connection(Subscriber, "127.0.0.1", port)
    await subscriber.ready
    ready.set()
    while not stop.is_set():
        await asyncio.sleep(0.2)
    # What still is on its way.
    before = -1
    while subscriber.heard != before:
        before = subscriber.heard
        await asyncio.sleep(2)
    late = sorted(subscriber.late_us)
    answer.put((subscriber.heard, [late[int(share * (len(late) - 1))] / 1000 for share in (0.5, 0.99, 1.0)]))


async def play(port, broker, options, counts):
    kinds = [
        (kind, record and json.dumps(record, separators=(",", ":")).encode(), rate, quality)
        for kind, record, rate, quality in ([] if options.no_samples else SAMPLES) + EVENTS
    ]
    loop = asyncio.get_running_loop()
    devices = []
    for number in range(options.devices):
        _, device = await loop.create_connection(lambda n=number: Device(n, kinds, counts), "127.0.0.1", port)
        await device.ready
        devices.append(device)
    _, connected_mib = of_process(broker.pid)
    start, before = time.monotonic(), of_process(broker.pid)[0]
    await asyncio.gather(*(device.play(start + 0.5, options.seconds, n / len(devices)) for n, device in enumerate(devices)))
    took = time.monotonic() - start
    await asyncio.sleep(2)
    cpu, mib = of_process(broker.pid)
    counts.update(took=took, broker=(cpu - before) / took, connected_mib=connected_mib, mib=mib)
    for device in devices:
        # With a word of farewell, or the broker would tell of each.
        device.transport.write(packet(0xE0, b"\x00"))
        device.transport.close()


def main():
    import multiprocessing

    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--devices", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--no-samples", action="store_true", help="events alone, as `samples = false`")
    options = arguments.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    # A thousand sockets and a few more.
    broker = subprocess.Popen(["prlimit", "--nofile=8192", mosquitto, "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ready, stop, answer = multiprocessing.Event(), multiprocessing.Event(), multiprocessing.Queue()
    listening = multiprocessing.Process(target=lambda: asyncio.run(subscribe(port, ready, stop, answer)))
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert broker.poll() is None, "the broker ended"
            time.sleep(0.05)
        _, empty_mib = of_process(broker.pid)
        listening.start()
        assert ready.wait(30), "no subscription"
        counts = {"sent": 0, "bytes": 0, "acknowledged": 0, "lost": 0}
        asyncio.run(play(port, broker, options, counts))
        stop.set()
        heard, (median, most, greatest) = answer.get(timeout=60)
    finally:
        stop.set()
        broker.terminate()
        broker.wait()
    seconds = counts["took"]
    print(f"{options.devices} devices for {seconds:.1f} s: {counts['sent'] / seconds:.0f} messages/s, "
          f"{counts['bytes'] / seconds / 2**20:.1f} MiB/s sent; {heard} of {counts['sent']} arrived at the subscriber, "
          f"{counts['lost']} connections lost")
    print(f"late at the subscriber: median {median:.1f} ms, 99 % {most:.1f} ms, greatest {greatest:.1f} ms")
    print(f"broker: {100 * counts['broker']:.0f} % of a core; {empty_mib:.1f} MiB empty, {counts['connected_mib']:.1f} "
          f"with all connected, {counts['mib']:.1f} at the end")


if __name__ == "__main__":
    main()
