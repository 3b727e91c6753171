"""pylsl and pyxdf against the streams of the Lab Streaming Layer; pylsl brings liblsl along."""

import json
import math
import pathlib
import struct
import tempfile

import pylsl
import pyxdf
from daemon import PATIENCE_S, Gazed, Native, run, until

LIBRARY = next(iter(sorted((pathlib.Path(pylsl.__file__).parent / "lib").glob("liblsl.*"))))


def inlet(kind):
    """The stream of this type that is ours: others on the network may have the same name."""
    found = pylsl.resolve_bypred(f"name='{'gazed' if kind == 'Gaze' else 'gazed events'}' and type='{kind}'",
                                 timeout=PATIENCE_S)
    assert len(found) == 1, [stream.as_xml() for stream in found]
    return pylsl.StreamInlet(found[0], recover=False)


def chunk(tag, content):
    body = struct.pack("<H", tag) + content
    return b"\x04" + struct.pack("<I", len(body)) + body


def xdf(path, info, rows):
    """A file as LabRecorder writes it: header, samples of 64-bit numbers, footer."""
    stream = struct.pack("<I", 1)
    samples = stream + b"\x04" + struct.pack("<I", len(rows))
    for values, time in rows:
        samples += b"\x08" + struct.pack("<d", time) + struct.pack(f"<{len(values)}d", *values)
    footer = f"<?xml version='1.0'?><info><sample_count>{len(rows)}</sample_count></info>".encode()
    path.write_bytes(
        b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
        + chunk(2, stream + info.as_xml().encode()) + chunk(3, samples) + chunk(6, stream + footer)
    )


def check(program):
    with Gazed(program, f'lsl = {{ library = "{LIBRARY}" }}\n') as gazed, tempfile.TemporaryDirectory() as folder:
        native = Native(gazed)
        gaze, markers = inlet("Gaze"), inlet("Markers")
        for stream in (gaze, markers):
            stream.open_stream(timeout=PATIENCE_S)
        native.connection.sendall(
            b'{"type":"scene","scene_id":"s","width_px":100,"height_px":100,'
            b'"objects":[{"id":"all","box":[-200,-200,500,500]}]}\n'
        )
        info = gaze.info()
        assert info.channel_format() == pylsl.cf_double64 and info.nominal_srate() == pylsl.IRREGULAR_RATE
        rows, said = [], []
        number = {"type": "object_number", "number": 1, "object": "all"}
        while len(rows) < 150 or number not in said or not any(marker["type"] == "fixation" for marker in said):
            values, time = gaze.pull_sample(timeout=PATIENCE_S)
            assert values is not None, "the stream ended"
            rows.append((values, time))
            while (marker := markers.pull_sample(timeout=0.0))[0] is not None:
                said.append(json.loads(marker[0][0]))
        file = pathlib.Path(folder) / "gaze.xdf"
        xdf(file, info, rows)
        ((stream,), _) = pyxdf.load_xdf(str(file), dejitter_timestamps=False)
        described = stream["info"]["desc"][0]
        labels = [channel["label"][0] for channel in described["channels"][0]["channel"]]
        assert described["validity"][0]["v5"] == ["uncalibrated"], described["validity"]
        units = {channel["label"][0]: channel.get("unit", [None])[0] for channel in described["channels"][0]["channel"]}
        assert (units["por_x"], units["por_x_mm"], units["device_time"]) == ("normalized", "millimeters", "seconds")
        compared, on_object = 0, 0
        for values, time in zip(stream["time_series"], stream["time_stamps"]):
            row = dict(zip(labels, values))
            # The LSL clock is the monotonic clock here, read a moment later than ours.
            assert abs(time - row["device_time"]) < 0.05, (time, row)
            sample = native.samples.get(round(row["device_time"] * 1e6))
            if sample is None:
                continue
            compared += 1
            assert row["frame"] == sample["seq"], (row, sample)
            assert described["validity"][0][f"v{int(row['validity'])}"] == [sample["validity"]]
            for axis in ("x", "y"):
                for ours, theirs in ((f"por_{axis}", axis), (f"por_{axis}_mm", f"{axis}_mm")):
                    if sample["por"] is None:
                        assert math.isnan(row[ours]), (row, sample)
                    else:
                        assert abs(row[ours] - sample["por"][theirs]) < 1e-3 / 16, (row, sample)
            on_object += row["object"] == 1
        assert compared > 100, compared
        assert on_object > 0, "nobody looked at the object"
        fixations = [marker for marker in said if marker["type"] == "fixation"]
        assert all(fixation["unix_us"] for fixation in fixations)
    with Gazed(program, 'lsl = { library = "/nowhere/liblsl.so" }\n') as gazed:
        until(lambda: any("liblsl was not found" in line for line in gazed.messages), "the warning")
    print(f"pylsl, pyxdf: {compared} samples equal the native stream's, {on_object} on the object, {len(fixations)} fixations")


if __name__ == "__main__":
    run(check)
