"""mosquitto: the broker, and mosquitto_sub as a client of it."""

import json
import shutil
import socket
import subprocess

from daemon import PATIENCE_S, Gazed, run, until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check(program):
    port = free_port()
    # Debian puts it where ordinary users do not look.
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    broker = subprocess.Popen([mosquitto, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_open(port), "the broker")
        heard = {}

        def listen(topic, count):
            listener = subprocess.Popen(
                ["mosquitto_sub", "-V", "mqttv5", "-p", str(port), "-q", "1", "-W", str(PATIENCE_S), "-C", str(count),
                 "-F", "%r %t %p", "-t", topic],
                stdout=subprocess.PIPE, text=True,
            )
            lines = listener.communicate()[0].splitlines()
            assert len(lines) == count, (topic, lines)
            return [line.split(" ", 2) for line in lines]

        settings = f'mqtt = {{ broker = "127.0.0.1:{port}", device = "desk", home_assistant = true }}\n'
        with Gazed(program, settings):
            for _, topic, payload in listen("gazed/desk/sample", 10):
                heard.setdefault(json.loads(payload)["type"], topic)
            ((_, _, payload),) = listen("gazed/desk/fixation", 1)
            assert json.loads(payload)["type"] == "fixation" and "unix_us" in json.loads(payload)
            # Kept by the broker: a late listener gets them at once.
            assert listen("gazed/desk/status", 1) == [["1", "gazed/desk/status", "online"]]
            ((is_kept, _, state),) = listen("gazed/desk/looking", 1)
            assert is_kept == "1" and state in ("ON", "OFF")
            ((_, _, payload),) = listen("homeassistant/binary_sensor/desk_looking/config", 1)
            assert json.loads(payload)["state_topic"] == "gazed/desk/looking"
        assert listen("gazed/desk/status", 1)[0][2] == "offline", "said at the end"
        with Gazed(program, settings) as gazed:
            until(lambda: listen("gazed/desk/status", 1)[0][2] == "online", "the daemon")
            gazed.kill()
            until(lambda: listen("gazed/desk/status", 1)[0][2] == "offline", "the last will")
    finally:
        broker.terminate()
        broker.wait()
    print("mosquitto: samples, fixations, status with last will, Home Assistant's discovery")


if __name__ == "__main__":
    run(check)
