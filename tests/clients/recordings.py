"""The BIDS validator and pandas on what `gazed export` writes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas
from daemon import run


def check(program):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = folder / "a.jsonl"
        subprocess.run([program, "process", "synthetic:2", "--frames", "300", "--out", lines], check=True)
        recording = folder / "a.gazed"
        subprocess.run([program, "record", recording, "--from", lines], check=True)
        bids, parquet, csv = (folder / name for name in ("bids", "parquet", "csv"))
        subprocess.run(
            [program, "export", recording, "--bids", bids, "--parquet", parquet, "--csv", csv], check=True
        )
        validator = Path(sys.executable).with_name("bids-validator-deno")
        ran = subprocess.run([validator, "--json", bids], capture_output=True, text=True)
        issues = json.loads(ran.stdout)["issues"]["issues"]
        errors = [issue for issue in issues if issue.get("severity") == "error"]
        assert ran.returncode == 0 and not errors, ran.stdout + ran.stderr

        records = [json.loads(line) for line in lines.read_text().splitlines()]
        samples = [record for record in records if record["type"] == "sample"]
        fixations = [record for record in records if record["type"] == "fixation"]
        for table in (pandas.read_parquet(parquet / "samples.parquet"), pandas.read_csv(csv / "samples.csv")):
            assert list(table["t_us"]) == [sample["t_us"] for sample in samples]
            x_mm = [sample["por"]["x_mm"] if sample["por"] else None for sample in samples]
            for ours, theirs in zip(x_mm, table["x_mm"]):
                assert pandas.isna(theirs) if ours is None else abs(ours - theirs) < 1e-3
        events = pandas.read_parquet(parquet / "events.parquet")
        assert (events["type"] == "fixation").sum() == len(fixations) > 0
    warnings = sorted({issue["code"] for issue in issues})
    print(f"BIDS validator: no errors (warnings: {warnings}); pandas: {len(samples)} samples, {len(events)} events")


if __name__ == "__main__":
    run(check)
