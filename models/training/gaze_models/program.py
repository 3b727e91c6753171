"""Measures the whole program on real people: ``python -m gaze_models.program --gazed PROGRAM --data DIR --out DIR``.

Runs ``gazed calibrate fit`` and ``gazed process`` and judges their records, so that what is measured is what ships:

- ``g01``: one person's face crops on a grey 640x480 canvas, calibrated on nine places, in blocks;
- ``clips``: webcam clips beside MediaPipe (``--reference``, a folder written by ``gaze_models.reference``), with the
  blinks of ``marks/blinks.csv``;
- ``stills``: faces found in labelled pictures, and in pictures without one.

Writes ``program.md`` and ``program.json``. Needs ``ffmpeg`` for the clips.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gaze_models.common import bootstrap_interval, interval_text
from gaze_models.data import on_canvas, read_backgrounds, read_face_set, split_of_picture

MARKS = Path(__file__).parents[1] / "marks" / "blinks.csv"

BLOCK = 430
"""Consecutive file numbers of g01 that make a block."""
SMALLEST_BLOCK = 60
FRAMES_PER_PLACE = 5
SCREEN_MM = np.array([531.0, 299.0])
"""g01 does not say how large its screen is; the ratio of two errors hardly depends on it."""

MATCH_US = 100_000
"""A reported blink is a marked one when their middles lie this near."""


@dataclass
class Records:
    """What ``gazed process`` wrote."""

    samples: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


class Program:
    """The program, with a folder of its own for profiles."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder

    def run(self, *arguments: str, may_fail: bool = False) -> None:
        """Run to the end; unreadable pictures make it exit with 1, which ``may_fail`` allows."""
        ran = subprocess.run(
            [self.path, *arguments, "--state", self.folder / "state"], capture_output=True, text=True
        )
        if ran.returncode != 0 and not (may_fail and ran.returncode == 1):
            raise SystemExit(f"gazed {' '.join(arguments)}: {ran.stderr}")

    def process(self, recording: Path, *arguments: str, may_fail: bool = False) -> Records:
        """Return the records of a recording."""
        out = self.folder / "records.jsonl"
        self.run("process", str(recording), "--out", str(out), *arguments, may_fail=may_fail)
        records = Records()
        for line in out.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "sample":
                records.samples.append(record)
            elif record["type"] != "header":
                records.events.append(record)
        return records


def unpack(tar: Path, folder: Path) -> Path:
    """Unpack a data set and return the folder that has its ``labels.csv``."""
    with tarfile.open(tar) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("labels.csv")).parent


def nearest_to_places(points: np.ndarray, screen: np.ndarray) -> list[int]:
    """Return the rows of the five points nearest to each of nine places at 10, 50 and 90 % of the screen."""
    chosen: list[int] = []
    for y in (0.1, 0.5, 0.9):
        for x in (0.1, 0.5, 0.9):
            order = np.argsort(np.linalg.norm(points - screen * [x, y], axis=1))
            chosen += [int(k) for k in order if k not in chosen][:FRAMES_PER_PLACE]
    return chosen


def measure_g01(program: Program, tar: Path) -> dict[str, Any]:
    """Calibrate each block and test it on its other frames; one without an answer counts as the constant guess."""
    folder = unpack(tar, program.folder / "g01")
    with (folder / "labels.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int("".join(filter(str.isdigit, row["file"]))))
    numbers = np.array([int("".join(filter(str.isdigit, row["file"]))) for row in rows])
    pixels = np.array([[float(row["x_px"]), float(row["y_px"])] for row in rows])
    screen_px = np.array([float(rows[0]["screen_w_px"]), float(rows[0]["screen_h_px"])])
    points = pixels / screen_px * SCREEN_MM
    blocks: list[dict[str, float]] = []
    for block in np.unique((numbers - numbers[0]) // BLOCK):
        members = np.flatnonzero((numbers - numbers[0]) // BLOCK == block)
        if len(members) < SMALLEST_BLOCK:
            continue
        pictures = program.folder / f"block{block}"
        pictures.mkdir()
        for k in members:
            grey = cv2.imread(str(folder / rows[k]["file"]), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(pictures / f"{numbers[k]:06}.png"), on_canvas(grey))
        chosen = members[nearest_to_places(points[members], SCREEN_MM)]
        targets = program.folder / "targets.csv"
        lines = [f"{numbers[k]:06}.png,{points[k, 0]:.3f},{points[k, 1]:.3f}" for k in chosen]
        targets.write_text("frame,x_mm,y_mm\n" + "\n".join(lines) + "\n")
        user, size = f"block{block}", "{:g}x{:g}".format(*SCREEN_MM)
        fit = ["--input", str(pictures), "--targets", str(targets), "--screen-mm", size, "--user", user]
        program.run("calibrate", "fit", *fit, "--independent")
        samples = program.process(pictures, "--user", user, "--independent").samples
        found = {int(Path(s["frame"]).stem): s["por"] for s in samples}
        tested, guess = np.setdiff1d(members, chosen), points[chosen].mean(0)
        answers = [found[numbers[k]] for k in tested]
        por = np.array([[p["x_mm"], p["y_mm"]] if p else guess for p in answers])
        error = np.linalg.norm(por - points[tested], axis=1).mean()
        constant = np.linalg.norm(guess - points[tested], axis=1).mean()
        without = sum(answer is None for answer in answers)
        blocks.append({"n": len(tested), "ratio": error / constant, "error_mm": error, "without": without})
    ratios = [block["ratio"] for block in blocks]
    return {"blocks": blocks, "ratio": float(np.mean(ratios)), "lowest": min(ratios), "highest": max(ratios)}


def side_agreement(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, int]:
    """Return how many of the frames at both ends (a tenth each) of ``theirs`` lie on that side of our median."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[both], theirs[both]
    if len(ours) < 20:
        return float("nan"), 0
    low, high = np.percentile(theirs, [10, 90])
    middle = np.median(ours)
    ends = (theirs <= low) | (theirs >= high)
    agree = np.where(theirs[ends] >= high, ours[ends] > middle, ours[ends] < middle)
    return float(agree.mean()), int(ends.sum())


def iris_place(points: np.ndarray) -> np.ndarray:
    """Return MediaPipe's iris across the eye, positive to the picture's right, in eye widths, (frames,)."""
    eyes = []
    for outer, inner, iris in ((0, 8, 32), (16, 24, 37)):
        middle, width = (points[:, outer] + points[:, inner]) / 2, points[:, inner] - points[:, outer]
        along = ((points[:, iris] - middle) * width).sum(1) / (width**2).sum(1)
        eyes.append(along * np.sign(width[:, 0]))
    return np.mean(eyes, 0)


def lid_opening(points: np.ndarray) -> np.ndarray:
    """Return MediaPipe's lid opening in eye widths, (frames,)."""
    eyes = []
    for first in (0, 16):
        upper, lower = points[:, first + 3 : first + 6].mean(1), points[:, first + 11 : first + 14].mean(1)
        width = np.linalg.norm(points[:, first] - points[:, first + 8], axis=1)
        eyes.append(np.linalg.norm(upper - lower, axis=1) / width)
    return np.mean(eyes, 0)


def tremble(iris: np.ndarray, still: np.ndarray, distance: float) -> float:
    """Return the median second difference of iris centres (frames, 2, 2) on still frames, % of eye distance."""
    second = np.abs(iris[2:] - 2 * iris[1:-1] + iris[:-2])[still]
    return float(100 * np.nanmedian(second) / distance) if np.isfinite(second).any() else float("nan")


def marked_blinks(clip: str, times: np.ndarray) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return (onset, offset) of the sure and the doubtful blinks of a clip, µs."""
    sure, doubtful = [], []
    with MARKS.open() as file:
        for row in csv.DictReader(file):
            if row["clip"] == clip:
                last = min(int(row["last_frame"]) + 1, len(times) - 1)
                span = (times[int(row["first_frame"])], times[last])
                (sure if row["is_sure"] == "yes" else doubtful).append(span)
    return sure, doubtful


def match_blinks(
    reported: list[tuple[float, float]], sure: list[tuple[float, float]], doubtful: list[tuple[float, float]]
) -> tuple[int, int]:
    """Return found and false blinks; what touches a doubtful one is neither."""
    left, found = list(reported), 0
    for mark in sure:
        near = [blink for blink in left if abs(sum(blink) - sum(mark)) / 2 <= MATCH_US]
        if near:
            left.remove(near[0])
            found += 1
    false = [b for b in left if not any(b[0] < offset and b[1] > onset for onset, offset in doubtful)]
    return found, len(false)


def measure_clip(program: Program, clip: Path, theirs: np.ndarray | None) -> dict[str, Any]:
    """Compare one clip with its marks and, where there is one, with MediaPipe's points (frames, 49, 2)."""
    records = program.process(clip)
    samples = records.samples
    times = np.array([s["t_us"] for s in samples], float)
    sure, doubtful = marked_blinks(clip.stem, times)
    reported = [(e["onset_us"], e["offset_us"]) for e in records.events if e["type"] == "blink"]
    found, false = match_blinks(reported, sure, doubtful)
    with_face = np.array([s["face"] is not None for s in samples])
    result: dict[str, Any] = {
        "frames": len(samples),
        "face": int(with_face.sum()),
        "eye_closed": sum(s["validity"] == "eye_closed" for s in samples),
        "gaze": sum(s["gaze"] is not None for s in samples),
        "blinks_marked": len(sure),
        "blinks_found": found,
        "blinks_false": false,
    }
    if theirs is None:
        return result
    they = np.isfinite(theirs[:, 0, 0])
    result |= {"reference": int(they.sum()), "both": int((they & with_face).sum())}
    result["only_ours"] = int((with_face & ~they).sum())
    missing = [None, None]
    relative = [
        [s["gaze"]["yaw_rad"] - s["head"]["yaw_rad"], s["gaze"]["pitch_rad"] - s["head"]["pitch_rad"]]
        if s["gaze"]
        else missing
        for s in samples
    ]
    relative = np.array(relative, float)
    shut = np.zeros(len(samples), bool)
    for onset, offset in sure + doubtful:
        shut |= (times >= onset - MATCH_US) & (times <= offset + MATCH_US)
    for name, axis, measure in (("yaw", 0, iris_place), ("pitch", 1, lid_opening)):
        place = np.where(shut | ~they, np.nan, measure(theirs))
        result[name], result[f"{name}_n"] = side_agreement(relative[:, axis], place)
    if they.sum() > 20:
        ours = np.full((len(samples), 2, 2), np.nan)
        for k, sample in enumerate(samples):
            for eye, side in enumerate(("right", "left")):
                if sample["eyes"] and sample["eyes"][side]:
                    ours[k, eye] = sample["eyes"][side]["iris_px"][:2]
        between = theirs[:, [0, 8]].mean(1) - theirs[:, [16, 24]].mean(1)
        distance = float(np.nanmedian(np.linalg.norm(between, axis=1)))
        iris = theirs[:, [32, 37]]
        # Both say that it rests: neither's mean over five frames moves by more than 2 % of the eye distance.
        speed = np.maximum(drift(ours), drift(iris)) / distance
        still = (speed < 0.02)[1:-1] & ~shut[1:-1]
        result |= {"still": int(still.sum()), "tremble": tremble(ours, still, distance)}
        result["tremble_reference"] = tremble(iris, still, distance)
    return result


def drift(iris: np.ndarray) -> np.ndarray:
    """Return how far the mean of the five frames before and after a frame lie apart, px, (frames,)."""
    apart = np.full(len(iris), np.inf)
    for k in range(5, len(iris) - 5):
        moved = iris[k + 1 : k + 6].mean(0) - iris[k - 5 : k].mean(0)
        apart[k] = np.linalg.norm(moved, axis=1).max() if np.isfinite(moved).all() else np.inf
    return apart


def measure_clips(program: Program, folder: Path, reference: Path | None) -> dict[str, Any]:
    """Measure every clip of the folder."""
    results = {}
    for clip in sorted(folder.glob("*.mp4")):
        file = reference / f"{clip.stem}.npy" if reference else None
        results[clip.stem] = measure_clip(program, clip, np.load(file) if file and file.exists() else None)
    found = sum(r["blinks_found"] for r in results.values())
    wrong = sum(r["blinks_false"] + r["blinks_marked"] - r["blinks_found"] for r in results.values())
    return {"clips": results, "blink_f1": 2 * found / (2 * found + wrong) if found else 0.0}


def found_faces(program: Program, pictures: list[np.ndarray]) -> list[list[float] | None]:
    """Return the face box of each picture, taken alone; none without a face."""
    with tempfile.TemporaryDirectory(dir=program.folder) as folder:
        for k, picture in enumerate(pictures):
            cv2.imwrite(f"{folder}/{k:06}.png", picture)
        samples = program.process(Path(folder), "--independent").samples
    return [sample["face"]["box"] if sample["face"] else None for sample in samples]


def measure_stills(program: Program, faces: Path) -> dict[str, Any]:
    """Return recall on labelled pictures and the rate of faces found where there is none, by set and split."""
    results: dict[str, Any] = {}
    for tar in sorted(faces.glob("*.tar")):
        name = tar.stem
        if name == "negatives":
            continue
        pictures = [p for p in read_face_set(tar) if p.faces]
        boxes = found_faces(program, [p.grey for p in pictures])
        hits = [
            any(contains(face.box, box) for face in p.faces) if box else False
            for p, box in zip(pictures, boxes, strict=True)
        ]
        results[name] = rate(hits, [split_of_picture(p) == "test" for p in pictures])
    everything, test = read_backgrounds(faces), {p.file for p in read_backgrounds(faces, "test")}
    boxes = found_faces(program, [p.grey for p in everything])
    results["negatives"] = rate([box is not None for box in boxes], [p.file in test for p in everything])
    return results


def contains(labelled: np.ndarray, box: list[float]) -> bool:
    """Return whether the middle of a found box (x, y, width, height) lies in a labelled one (x0, y0, x1, y1)."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return bool(labelled[0] <= x <= labelled[2] and labelled[1] <= y <= labelled[3])


def rate(hits: list[bool], is_test: list[bool]) -> dict[str, Any]:
    """Return counts over all pictures and over those of test people, with a 95 % interval by picture."""
    hit, test = np.array(hits), np.array(is_test)
    held_out = hit[test].astype(float)
    interval = bootstrap_interval(held_out, list(range(len(held_out))), "mean") if len(held_out) else None
    return {"n": len(hit), "yes": int(hit.sum()), "test_n": int(test.sum()), "test": interval}


def report(results: dict[str, Any]) -> str:
    """Return the tables of the README."""
    lines: list[str] = []
    if "g01" in results:
        g01 = results["g01"]
        n = sum(block["n"] for block in g01["blocks"])
        without = sum(block["without"] for block in g01["blocks"])
        lines += [
            f"g01, {len(g01['blocks'])} blocks, {n} tested frames, {without} without an answer: error as share of "
            f"the constant guess {g01['ratio']:.3f} (blocks {g01['lowest']:.2f} to {g01['highest']:.2f})",
            "",
        ]
    if "clips" in results:
        lines += [
            "| clip | frames | face in MediaPipe's frames | only ours | left or right | up or down "
            "| blinks found, false | `eye_closed` | iris tremble, ours / MediaPipe |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, r in results["clips"]["clips"].items():
            seen = f"{r['both']} of {r['reference']}" if r.get("reference") else "none there"
            sides = [f"{r[a]:.0%} of {r[f'{a}_n']}" if r.get(f"{a}_n") else "" for a in ("yaw", "pitch")]
            shake = f"{r['tremble']:.2f} / {r['tremble_reference']:.2f} %" if "tremble" in r else ""
            blinks = f"{r['blinks_found']} of {r['blinks_marked']}, {r['blinks_false']}"
            cells = [name, r["frames"], seen, r.get("only_ours", ""), *sides, blinks, r["eye_closed"], shake]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines += ["", f"Blinks, all clips: F1 {results['clips']['blink_f1']:.2f}", ""]
    if "stills" in results:
        lines += ["| pictures | a face is found | of test people's (95 %) |", "|---|---|---|"]
        for name, r in results["stills"].items():
            test = f"{interval_text(r['test'], 100, 1)} % of {r['test_n']}" if r["test"] else ""
            lines.append(f"| {name} | {r['yes']} of {r['n']} | {test} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the parts whose data are there and print their tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--gazed", type=Path, required=True, help="the program: target/release/gazed")
    parser.add_argument("--data", type=Path, required=True, help="folder with gaze/, videos/ and faces/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="folder written by gaze_models.reference")
    parser.add_argument("--parts", nargs="+", choices=["g01", "clips", "stills"], default=["g01", "clips", "stills"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.gazed.resolve(), Path(folder))
        if "g01" in arguments.parts:
            results["g01"] = measure_g01(program, arguments.data / "gaze" / "g01.tar")
        if "clips" in arguments.parts:
            results["clips"] = measure_clips(program, arguments.data / "videos", arguments.reference)
        if "stills" in arguments.parts:
            results["stills"] = measure_stills(program, arguments.data / "faces")
    (arguments.out / "program.json").write_text(json.dumps(results, indent=2, default=float) + "\n")
    (arguments.out / "program.md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
