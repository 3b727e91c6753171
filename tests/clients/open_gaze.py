"""PyOpenGaze of python-pygaze, unmodified, against the Open Gaze API."""

import csv

from by_path import pygaze_module
from daemon import PATIENCE_S, Gazed, Native, run, until


def answer(ask):
    """What it gets to know; None when it looked for the answer before it had taken it in."""
    try:
        return ask()
    except KeyError:
        return None


def check(program):
    opengaze = pygaze_module("opengaze")
    with Gazed(program) as gazed:
        native = Native(gazed)
        log = str(gazed.path / "log.tsv")
        port = gazed.ports["open_gaze"]
        tracker = opengaze.OpenGazeTracker(ip="127.0.0.1", port=port, logfile=log)
        # A second client with groups of its own does not disturb the first.
        other = opengaze.OpenGazeTracker(ip="127.0.0.1", port=port, logfile=str(gazed.path / "other.tsv"))
        # Without records PyOpenGaze waits for them with its socket locked, and what it has to say may never get out.
        for one in (tracker, other):
            until(lambda one=one: one.enable_send_data(True), "the records")
        assert other.enable_send_pog_fix(False)
        for ask in (
            tracker.get_time_tick_frequency, tracker.get_product_id, tracker.get_api_id, tracker.get_camera_size,
            tracker.get_screen_size,
        ):
            until(lambda ask=ask: answer(ask) is not None, ask.__name__)
        assert tracker.calibrate_clear() and tracker.calibrate_addpoint(0.25, 0.75)
        until(lambda: answer(tracker.get_calibration_points) == [(0.25, 0.75)], "the point")
        assert tracker.calibrate_reset()
        until(lambda: len(answer(tracker.get_calibration_points) or ()) == 5, "the usual points")
        assert tracker.calibrate_timeout(1.5) and tracker.calibrate_delay(0.75)
        # Five points of its own, two seconds each; the synthetic observer looks at what is shown.
        assert tracker.calibrate_timeout(2.0) and tracker.calibrate_delay(0.5) and tracker.calibrate_clear()
        points = [(0.5, 0.5), (0.15, 0.15), (0.85, 0.15), (0.15, 0.85), (0.85, 0.85)]
        assert all(tracker.calibrate_addpoint(x, y) for x, y in points)
        assert tracker.calibrate_show(False)
        tracker.clear_calibration_result()
        assert tracker.calibrate_start(True)
        number, position = tracker.wait_for_calibration_point_start(timeout=PATIENCE_S)
        assert position == points[number - 1], (number, position)
        result = until(tracker.get_calibration_result, "the result of the calibration")
        assert [(point["CALX"], point["CALY"]) for point in result] == points, result
        assert all(point["LV"] for point in result), result
        assert tracker.calibrate_start(False)
        error_px, valid = until(lambda: answer(tracker.calibrate_result_summary), "the summary")
        assert int(valid) == 5 and 0 < float(error_px) < 400, (error_px, valid)
        tracker.start_recording()
        tracker.user_data("trial 1")
        start = len(native.samples)
        until(lambda: len(native.samples) > start + 120, "four seconds of samples")
        assert all(value is not None for value in tracker.sample())
        tracker.stop_recording()
        for one in (tracker, other):
            one.close()
        rows = list(csv.DictReader(open(log), delimiter="\t"))
        compared, fixations = 0, set()
        for row in rows:
            sample = native.samples.get(int(row["TIME_TICK"] or 0))
            if sample is None:
                continue
            compared += 1
            assert row["BPOGV"] == ("1" if sample["is_usable"] else "0"), (row, sample)
            if sample["is_usable"]:
                # Five digits are sent.
                assert abs(float(row["BPOGX"]) - sample["por"]["x"]) < 1e-5, (row, sample)
                assert abs(float(row["BPOGY"]) - sample["por"]["y"]) < 1e-5, (row, sample)
            assert row["FPOGV"] == ("1" if sample["is_resting"] else "0"), (row, sample)
            if row["FPOGV"] == "1":
                fixations.add(row["FPOGID"])
        assert compared > 60, f"{compared} of {len(rows)} rows were compared"
        assert len(fixations) > 2, fixations
        # Records are split at blanks by some clients: gazed puts a _ there.
        assert any(row["USER"] == "trial_1" for row in rows)
    print(f"PyOpenGaze: {compared} records equal the native stream's, {len(fixations)} fixations")


if __name__ == "__main__":
    run(check)
