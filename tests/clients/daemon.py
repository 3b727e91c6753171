"""A gazed of our own on the synthetic observer, and its native stream to compare clients with."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# Enough for a slow machine that builds something at the same time.
PATIENCE_S = 180


class Gazed:
    """`gazed run` with every output on a port of its own; use it in a `with`."""

    def __init__(self, program, extra_settings="", pupil_port=0, open_gaze_host="127.0.0.1"):
        self.folder = tempfile.TemporaryDirectory(prefix="gazed-clients-")
        self.path = pathlib.Path(self.folder.name)
        self.socket_path = str(self.path / "gazed.sock")
        settings = self.path / "gazed.toml"
        settings.write_text(
            "[screen]\nwidth_mm = 531\nheight_mm = 299\nwidth_px = 1920\nheight_px = 1080\n"
            f'[outputs]\nopen_gaze = "{open_gaze_host}:0"\neye_tribe = "127.0.0.1:0"\n'
            f'pupil = "127.0.0.1:{pupil_port}"\n{extra_settings}'
        )
        self.process = subprocess.Popen(
            [program, "--config", settings, "run", "--source", "synthetic:3", "--socket", self.socket_path,
             "--listen", "127.0.0.1:0", "--state", self.path / "state"],
            stderr=subprocess.PIPE, text=True,
        )
        self.ports = {}
        self.messages = []
        is_up = threading.Event()
        threading.Thread(target=self._listen, args=[is_up], daemon=True).start()
        assert is_up.wait(PATIENCE_S), "\n".join(self.messages)

    def _listen(self, is_up):
        for line in self.process.stderr:
            self.messages.append(line.rstrip())
            words = line.split()
            # "INFO open_gaze: 127.0.0.1:40123"
            if len(words) == 3 and words[1].endswith(":"):
                self.ports.setdefault(words[1][:-1], int(words[2].rsplit(":", 1)[1]))
            if "reading synthetic" in line:
                is_up.set()

    def __enter__(self):
        return self

    def kill(self):
        """Ends it without a chance to say anything."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(PATIENCE_S) == 0, "\n".join(self.messages)
        self.folder.cleanup()


class Native:
    """The daemon's own records while a client is at work; samples by their monotonic time, µs."""

    def __init__(self, gazed):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(gazed.socket_path)
        self.connection.sendall(b'{"type":"subscribe"}\n')
        self.samples = {}
        self.is_resting, self.resting = False, 0
        self.records = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.connection.makefile():
            record = json.loads(line)
            self.records.append(record)
            if record["type"] in ("event_begin", "event_update"):
                self.is_resting = record["event"] == "fixation" or self.is_resting and record["id"] != self.resting
                self.resting = record["id"] if record["event"] == "fixation" else self.resting
            elif record["type"] == "fixation" and record["id"] >= self.resting:
                self.is_resting = False
            elif record["type"] == "sample":
                usable = record["validity"] in ("valid", "uncalibrated", "stale_calibration")
                record["is_usable"] = usable and bool(record["por"])
                record["is_resting"] = self.is_resting and usable
                self.samples[record["mono_us"]] = record

    def kinds(self):
        return {record["type"] for record in list(self.records)}


def until(condition, what):
    """Waits for what must come."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come within {PATIENCE_S} s")


def run(*checks):
    """Runs them against the program that the command line names; the first that fails ends it all."""
    try:
        for check in checks:
            check(sys.argv[1])
    except BaseException:
        traceback.print_exc()
        # Not an ordinary end: threads of some clients would be waited for, for ever.
        os._exit(1)
