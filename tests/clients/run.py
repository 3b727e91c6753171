"""Every light client against the program at this path: `python run.py target/debug/gazed`."""

import examples
import eye_tribe
import lsl
import mqtt
import open_gaze
import pupil
import recordings
from daemon import run

run(*(client.check for client in (examples, recordings, open_gaze, eye_tribe, pupil, mqtt, lsl)))
