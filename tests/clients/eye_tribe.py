"""PyTribe of python-pygaze, unmodified, against the Eye Tribe's API."""

import csv
import statistics
import time

from by_path import pygaze_module
from daemon import Gazed, Native, run, until


def calibrate(tracker, native):
    """Nine points of the client's own; the synthetic observer looks at what is shown."""
    points = [(x, y) for x in (240, 960, 1680) for y in (135, 540, 945)]
    tracker.calibration.start(pointcount=len(points))
    for x, y in points:
        assert tracker.calibration.pointstart(x, y)
        # Long enough on a slow machine too, where frames are few.
        first, start = len(native.samples), time.monotonic()
        until(lambda: len(native.samples) > first + 40 and time.monotonic() > start + 1.5, "samples of the point")
        result = tracker.calibration.pointend()
    assert result["result"] is True, result
    assert [(point["cpx"], point["cpy"]) for point in result["calibpoints"]] == points, result
    assert all(point["state"] in (1, 2) for point in result["calibpoints"]), result
    # The observer is distracted once, as people are.
    assert 0 < statistics.median(point["mepix"] for point in result["calibpoints"]) < 150, result
    until(tracker._tracker.get_iscalibrated, "calibrated gaze")
    return result["deg"]


def check(program):
    pytribe = pygaze_module("pytribe")
    with Gazed(program) as gazed:
        native = Native(gazed)
        until(lambda: native.samples, "a sample")
        log = str(gazed.path / "log")
        tracker = pytribe.EyeTribe(logfilename=log, host="127.0.0.1", port=gazed.ports["eye_tribe"])
        tracker.start_recording()
        start = len(native.samples)
        until(lambda: len(native.samples) > start + 90, "three seconds of samples")
        tracker.stop_recording()
        assert None not in tracker.sample()
        error_deg = calibrate(tracker, native)
        tracker.close()
        by_ms = {mono_us // 1000: sample for mono_us, sample in list(native.samples.items())}
        compared = 0
        for row in csv.DictReader(open(log + ".tsv"), delimiter="\t"):
            sample = row["timestamp"] != "MSG" and by_ms.get(int(row["time"]))
            if not sample:
                continue
            assert (int(row["state"]) & 1 == 1) == sample["is_usable"], (row, sample)
            if not sample["is_usable"]:
                continue
            compared += 1
            for axis, pixels in (("x", 1920), ("y", 1080)):
                assert abs(float(row[f"raw{axis}"]) - sample["por"][axis] * pixels) < 0.01, (row, sample)
            assert (row["fix"] == "True") == sample["is_resting"], (row, sample)
        assert compared > 30, compared
    print(f"PyTribe: {compared} frames equal the native stream's; calibrated to {error_deg:.2f} degrees")


if __name__ == "__main__":
    run(check)
