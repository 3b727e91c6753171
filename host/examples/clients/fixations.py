"""Fixations of a running gazed; needs nothing but Python. `python3 fixations.py [SOCKET]`"""

import json
import os
import socket
import sys

default = "/run/gazed/gazed.sock"  # the system's service, where it runs
if not os.path.exists(default):
    default = os.path.join(os.environ.get("XDG_RUNTIME_DIR", f"/tmp/gazed-{os.getuid()}"), "gazed.sock")
path = sys.argv[1] if len(sys.argv) > 1 else default
with socket.socket(socket.AF_UNIX) as daemon:
    daemon.connect(path)
    daemon.sendall(b'{"type":"subscribe","types":["fixation"]}\n')
    for line in daemon.makefile():
        record = json.loads(line)
        if record["type"] == "fixation" and record["por"]:
            ms = (record["offset_us"] - record["onset_us"]) / 1000
            print(f'{record["por"]["x_mm"]:7.1f} {record["por"]["y_mm"]:7.1f} mm  {ms:5.0f} ms', flush=True)
