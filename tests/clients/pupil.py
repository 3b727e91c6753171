"""pyzmq and msgpack as the pupil-helpers scripts use them, against Pupil's network API."""

import statistics
import time

import msgpack
import zmq
from daemon import PATIENCE_S, Gazed, Native, run, until


def subscriber(context, port, *topics):
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1000)
    socket.connect(f"tcp://127.0.0.1:{port}")
    for topic in topics:
        socket.subscribe(topic)
    return socket


def check(program):
    context = zmq.Context()
    with Gazed(program) as gazed:
        native = Native(gazed)
        remote = context.socket(zmq.REQ)
        remote.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1000)
        remote.connect(f"tcp://127.0.0.1:{gazed.ports['pupil']}")

        def ask(text):
            remote.send_string(text)
            return remote.recv_string()

        sub_port, pub_port = ask("SUB_PORT"), ask("PUB_PORT")
        assert ask("coffee") == "Unknown command." and ask("v")

        # filter_messages: the fields that clients read.
        topics = ("pupil.", "gaze.", "fixations", "blinks", "surfaces.screen")
        everything = subscriber(context, sub_port, *topics)
        heard = {}
        compared = 0
        gaze_seen = {}
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and (compared < 60 or not {"fixations", "blinks"} <= heard.keys()):
            topic, payload = everything.recv_multipart()
            datum = msgpack.loads(payload)
            topic = topic.decode()
            assert datum["topic"] == topic
            heard.setdefault(topic, datum)
            if topic.startswith("gaze."):
                gaze_seen[datum["timestamp"]] = datum
                assert {base["id"] for base in datum["base_data"]} <= {0, 1}
                sample = native.samples.get(round(datum["timestamp"] * 1e6))
                if sample:
                    x, y = datum["norm_pos"]
                    assert abs(x - sample["por"]["x"]) < 1e-6 and abs(1 - y - sample["por"]["y"]) < 1e-6
                    compared += 1
            if topic.startswith("surfaces."):
                # As PsychoPy matches them: the same topic and the very same time, gaze first.
                (on_surface,) = datum["gaze_on_surfaces"]
                base_topic, base_time = on_surface["base_data"]
                assert gaze_seen[base_time]["topic"] == base_topic == "gaze.3d.01."
                assert isinstance(on_surface["on_surf"], bool)
        assert compared >= 60, compared
        pupil = heard["pupil.0.3d"]
        for key in ("confidence", "diameter", "ellipse", "norm_pos", "phi", "theta", "timestamp"):
            assert key in pupil, key
        assert len(pupil["sphere"]["center"]) == 3
        assert heard["fixations"]["duration"] > 0 and heard["fixations"]["id"] >= 1
        assert heard["blinks"]["type"] in ("onset", "offset")

        # A scene becomes surfaces.
        native.connection.sendall(
            b'{"type":"scene","scene_id":"s","width_px":100,"height_px":100,'
            b'"objects":[{"id":"all","box":[-200,-200,500,500]}]}\n'
        )
        surface = subscriber(context, sub_port, "surfaces.all")
        _, payload = surface.recv_multipart()
        assert msgpack.loads(payload)["gaze_on_surfaces"][0]["on_surf"] is True

        # What one client publishes, and what it sends to the request port, the others get.
        notes = subscriber(context, sub_port, "annotation", "notify.")
        publisher = context.socket(zmq.PUB)
        publisher.connect(f"tcp://127.0.0.1:{pub_port}")
        note = msgpack.dumps({"topic": "annotation", "label": "go", "timestamp": 1.5, "duration": 0.0})

        def is_echoed():
            publisher.send_multipart([b"annotation", note])
            return notes.poll(100) and notes.recv_multipart() == [b"annotation", note]

        until(is_echoed, "the annotation")
        remote.send_string("notify.test", flags=zmq.SNDMORE)
        remote.send(msgpack.dumps({"subject": "test"}))
        assert remote.recv_string() == "Message forwarded."
        until(lambda: notes.recv_multipart()[0] == b"notify.test", "the notification")
        # A calibration from start to end; the synthetic observer looks at what is shown.
        assert ask("C") == "OK"
        subjects = []
        while not subjects or subjects[-1] not in ("successful", "stopped", "failed"):
            topic, payload = notes.recv_multipart()
            if topic.startswith(b"notify.calibration."):
                subjects.append(topic.decode().removeprefix("notify.calibration."))
        assert subjects == ["should_start", "started", "successful"], (subjects, msgpack.loads(payload))
        # And one that is ended.
        assert ask("C") == "OK"
        until(lambda: notes.recv_multipart()[0] == b"notify.calibration.started", "the start")
        assert ask("c") == "OK"
        until(lambda: notes.recv_multipart()[0] == b"notify.calibration.stopped", "the end")

        # simple_realtime_time_sync: the offset of the two clocks, ten times.
        assert ask(f"T {time.monotonic()}") == "Timesync successful."
        offsets = []
        for _ in range(10):
            before = time.monotonic()
            theirs = float(ask("t"))
            offsets.append(theirs - (before + time.monotonic()) / 2)
        assert abs(statistics.median(offsets)) < 1.0, offsets
        context.destroy(linger=0)
    print(f"pyzmq: {compared} gaze data equal the native stream's; topics {sorted(heard)}")


if __name__ == "__main__":
    run(check)
