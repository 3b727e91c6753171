"""Every light client against the program at this path: `python run.py target/debug/gazed`."""

import sys

import examples
import eye_tribe
import mqtt
import open_gaze
import pupil
import recordings

for client in (examples, recordings, open_gaze, eye_tribe, pupil, mqtt):
    client.check(sys.argv[1])
