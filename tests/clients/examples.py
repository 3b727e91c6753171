"""The examples of clients without dependencies, as they are shipped."""

import pathlib
import shutil
import subprocess
import sys

from daemon import Gazed, run

EXAMPLES = pathlib.Path(__file__).parents[2] / "host/examples/clients"


def check(program):
    commands = [[sys.executable, EXAMPLES / "fixations.py"]]
    if shutil.which("node"):
        commands.append(["node", EXAMPLES / "fixations.mjs"])
    with Gazed(program) as gazed:
        for command in commands:
            example = subprocess.Popen([*command, gazed.socket_path], stdout=subprocess.PIPE, text=True)
            line = example.stdout.readline()
            example.kill()
            example.wait()
            assert line.rstrip().endswith(" ms"), line
    print(f"examples: {', '.join(command[1].name for command in commands)}")


if __name__ == "__main__":
    run(check)
