"""PsychoPy's ioHub with its Gazepoint and Pupil Labs plugins, unmodified: calibration, samples, fixations, recording.

`python psychopy_iohub.py target/debug/gazed`, in an environment with

    pip install psychopy-lib==2026.2.5 psychopy-eyetracker-gazepoint==0.0.5 real-time-screen-gaze
    pip install --no-deps psychopy-eyetracker-pupil-labs==0.8.2

(1.4 GB) and `xvfb-run`. Each plugin gets a process of its own, for ioHub allows one tracker in one.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from daemon import PATIENCE_S, Gazed, Native, run, until

WIDTH, HEIGHT = 1280, 720


@contextlib.contextmanager
def tracker_of(settings, folder):
    """ioHub's tracker, and PsychoPy's window on the virtual display."""
    from psychopy import visual
    from psychopy.iohub import launchHubServer

    window = visual.Window((WIDTH, HEIGHT), fullscr=False, allowGUI=False, units="pix", screen=0)
    io = launchHubServer(
        window=window, experiment_code="gazed", session_code="s1", datastore_name=str(folder / "events"), **settings
    )
    try:
        assert io.devices.tracker.isConnected()
        yield io.devices.tracker, window
    finally:
        # A process of its own, which would outlive this one.
        io.quit()
        window.close()


def events_of(tracker, seconds):
    """What ioHub reports while the tracker records for that long."""
    found = []
    tracker.setRecordingState(True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += tracker.getEvents()
        time.sleep(0.05)
    tracker.setRecordingState(False)
    return found + tracker.getEvents()


@contextlib.contextmanager
def pressed_space():
    """The space bar, once a second, as a person at the keyboard."""
    from Xlib import X, XK, display
    from Xlib.ext import xtest

    screen, is_over = display.Display(), threading.Event()
    key = screen.keysym_to_keycode(XK.string_to_keysym("space"))

    def press():
        while not is_over.wait(1.0):
            for what in (X.KeyPress, X.KeyRelease):
                xtest.fake_input(screen, what, key)
                screen.sync()

    pressing = threading.Thread(target=press)
    pressing.start()
    yield
    is_over.set()
    pressing.join()
    screen.close()


def to_pixels(por):
    """ioHub has the origin in the middle, y up."""
    return (por["x"] - 0.5) * WIDTH, (0.5 - por["y"]) * HEIGHT


def stored(folder, table):
    import tables

    with tables.open_file(str(folder / "events.hdf5")) as file:
        return len(file.get_node(f"/data_collection/events/eyetracker/{table}"))


def gazepoint(program, folder):
    from psychopy import visual
    from psychopy.hardware.eyetracker import EyetrackerCalibration
    from psychopy.iohub.constants import EventConstants

    # 127.0.0.2: at 127.0.0.1 the plugin takes the tracker's clock for its own.
    with Gazed(program, open_gaze_host="127.0.0.2") as gazed:
        native = Native(gazed)
        network = {"ip_address": "127.0.0.2", "port": gazed.ports["open_gaze"]}
        settings = {"eyetracker.hw.gazepoint.gp3.EyeTracker": {"name": "tracker", "network_settings": network}}
        with tracker_of(settings, folder) as (tracker, window):
            # ioHub draws five targets by itself, between two screens that wait for the space bar.
            target = visual.TargetStim(window, units="pix", radius=20, innerRadius=6)
            routine = EyetrackerCalibration(window, tracker, target, units="pix", targetLayout="FIVE_POINTS")
            with pressed_space():
                routine.run()
            steps = [record for record in native.records if record["type"] == "calibration"]
            assert any(step["stage"] == "accepted" for step in steps), steps[-1:]
            found = events_of(tracker, 8)
        samples, starts, ends = (
            [event for event in found if event.type == getattr(EventConstants, kind)]
            for kind in ("GAZEPOINT_SAMPLE", "FIXATION_START", "FIXATION_END")
        )
        by_time = {round(sample["t_us"] / 1e6, 3): sample for sample in native.samples.values()}
        compared = 0
        for event in samples:
            sample = by_time.get(round(event.device_time, 3))
            compared += sample is not None and sample["is_usable"]
        assert compared > 30, (compared, len(samples))
        assert len(starts) >= 3 and len(ends) >= 3, starts
        # At the mean of a fixation that the native stream has as well.
        natives = [to_pixels(record["por"]) for record in native.records if record["type"] == "fixation" and record["por"]]
        for end in ends:
            place = (end.average_gaze_x, end.average_gaze_y)
            assert min(abs(x - place[0]) + abs(y - place[1]) for x, y in natives) < 40, (place, natives[-5:])
        assert stored(folder, "FixationEndEvent") >= len(ends)
    print(f"PsychoPy, Gazepoint: calibrated; {len(samples)} samples, {len(starts)} fixation starts, {len(ends)} ends")


def pupil(program, folder):
    from psychopy.iohub.constants import EventConstants

    with Gazed(program) as gazed:
        native = Native(gazed)
        until(lambda: native.samples, "a sample")
        runtime = {
            "pupil_remote": {"ip_address": "127.0.0.1", "port": gazed.ports["pupil"], "timeout_ms": 5000},
            "pupil_capture_recording": {"enabled": True, "location": ""},
            "surface_name": "screen", "confidence_threshold": 0.3,
        }
        settings = {"eyetracker.hw.pupil_labs.pupil_core.EyeTracker": {"name": "tracker", "runtime_settings": runtime}}
        with tracker_of(settings, folder) as (tracker, _):
            # 200 is success. The synthetic observer looks where the page would show the targets.
            answer = tracker.runSetupProcedure()
            assert answer == 200, answer
            found = events_of(tracker, 8)
        samples = [event for event in found if event.type == EventConstants.BINOCULAR_EYE_SAMPLE]
        natives = [to_pixels(sample["por"]) for sample in list(native.samples.values()) if sample["por"]]
        for event in samples:
            place = (event.left_gaze_x, event.left_gaze_y)
            assert min(abs(x - place[0]) + abs(y - place[1]) for x, y in natives) < 2, (place, natives[-5:])
        assert len(samples) > 30, len(samples)
        assert stored(folder, "BinocularEyeSampleEvent") >= len(samples)
    print(f"PsychoPy, Pupil Core: calibrated; {len(samples)} binocular samples equal the native stream's")


PARTS = {"gazepoint": gazepoint, "pupil": pupil}


def check(program):
    for part in PARTS:
        command = [sys.executable, __file__, program, part]
        if "DISPLAY" not in os.environ:
            command = ["xvfb-run", "-a", "-s", f"-screen 0 {WIDTH}x{HEIGHT}x24", *command]
        subprocess.run(command, check=True, timeout=4 * PATIENCE_S)


def check_part(program):
    with tempfile.TemporaryDirectory() as folder:
        PARTS[sys.argv[2]](program, pathlib.Path(folder))


if __name__ == "__main__":
    run(check_part if len(sys.argv) > 2 else check)
