"""The examples of clients without dependencies, as they are shipped."""

import pathlib
import shutil
import subprocess
import sys

from daemon import Gazed

EXAMPLES = pathlib.Path(__file__).parents[2] / "host/examples/clients"


def check(program):
    runs = [[sys.executable, EXAMPLES / "fixations.py"]]
    if shutil.which("node"):
        runs.append(["node", EXAMPLES / "fixations.mjs"])
    with Gazed(program) as gazed:
        for run in runs:
            example = subprocess.Popen([*run, gazed.socket_path], stdout=subprocess.PIPE, text=True)
            line = example.stdout.readline()
            example.kill()
            example.wait()
            assert line.rstrip().endswith(" ms"), line
    print(f"examples: {', '.join(run[1].name for run in runs)}")


if __name__ == "__main__":
    check(sys.argv[1])
