"""The table of what the networks reach: ``python -m gaze_models.table --data DIR [--runs runs]``.

Takes the figures that ``evaluate`` and ``quantise`` left in the run folders of the eye network and the reference,
measures the chain of all three (finder, landmarks, eyes) on held-out pictures, and writes the table into
``models/README.md``.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from gaze_models.chain import VisionChain
from gaze_models.common import MODELS, bootstrap_interval, interval_text
from gaze_models.data import Picture, eye_crops, eye_distance, on_canvas, read_backgrounds, read_faces
from gaze_models.eyes_evaluate import EyeNet
from gaze_models.eyes_patches import cut_contract
from gaze_models.eyes_spoilt import SPOILT
from gaze_models.head_pose import head_angles

BEGIN, END = "<!-- table: written by gaze_models.table -->", "<!-- end of table -->"
WEBCAM_FACE = 70
"""Least width of a face in pixels: that of a head 1.3 m from a 640x480 webcam."""
OFFICE_WIDTH = 384
"""Pictures are shrunk to the width of an office webcam of the BioID set for the eye centres."""


def irises(net: EyeNet, grey: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the two iris centres that the eye network sees, (2, 2) pixels, the observer's right eye first."""
    eye = net(cut_contract(grey, points), head_angles(points))["eye"]
    crops = eye_crops(points)
    places = np.stack([eye[0, :2], [1 - eye[1, 0], eye[1, 1]]])
    return np.stack([crop.points_to_source(place) for crop, place in zip(crops, places, strict=True)])


def measure_chain(models: Path, data: Path, limit: int | None) -> dict[str, Any]:
    """Measure the finder confirmed by the landmarks, and the irises, on test people and pictures without a face."""
    chain, net = VisionChain(models), EyeNet(models / "onnx" / "eyes.onnx")

    def look(grey: np.ndarray) -> np.ndarray | None:
        chain.crop = None
        return chain.step(grey)[0]

    def name(picture: Picture) -> str:
        return picture.identity if picture.identity != picture.set_name else picture.file

    found, people, worse, office_people = [], [], [], []
    for picture in tqdm(read_faces(data, "test", limit), desc="faces", mininterval=10):
        if picture.faces[0].box[2] - picture.faces[0].box[0] >= WEBCAM_FACE:
            found.append(float(look(on_canvas(picture.grey)) is not None))
            people.append(name(picture))
        if picture.set_name != "caltech":
            continue
        zoom = OFFICE_WIDTH / picture.grey.shape[1]
        small = cv2.resize(picture.grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        points, truth = look(small), (picture.faces[0].points + 0.5) * zoom - 0.5
        off = np.full(2, np.inf) if points is None else np.hypot(*(irises(net, small, points) - truth[[32, 37]]).T)
        worse.append(off.max() / eye_distance(truth))
        office_people.append(name(picture))
    nobody = [float(look(picture.grey) is not None) for picture in read_backgrounds(data, "test", limit)]
    off = np.array(worse)
    return {
        "recall": bootstrap_interval(np.array(found), people),
        "faces": len(found),
        "nobody": [sum(nobody), len(nobody)],
        "worse_eye_5": bootstrap_interval((off <= 0.05).astype(float), office_people),
        "worse_eye_10": bootstrap_interval((off <= 0.10).astype(float), office_people),
        "office": len(off),
    }


def rows(chain: dict[str, Any], eyes: dict, int8: dict, dft: dict, models: Path) -> list[list[str]]:
    """Return measure, aim and what was reached."""
    manifest = tomllib.loads((models / "manifest.toml").read_text())
    table = [
        [
            f"faces from {WEBCAM_FACE} px on found by finder and landmarks, {chain['faces']} pictures of test people",
            "≥ .99",
            interval_text(chain["recall"], 1, 3),
        ],
        ["pictures without a face that yield one", "≤ 1.5 %", "{:.0f} of {}".format(*chain["nobody"])],
        [
            f"worse iris within 5 % / 10 % of the eye distance, {chain['office']} Caltech pictures at 384 px",
            "≥ .95 / ≥ .99",
            f"{interval_text(chain['worse_eye_5'], 1, 3)} / {interval_text(chain['worse_eye_10'], 1, 3)}",
        ],
    ]
    if "cew" in eyes:
        table.append(["open against closed eyes, cew, area under the curve", "≥ .985", f"{eyes['cew']['auc']:.3f}"])
    if "g01" in eyes:
        g01 = eyes["g01"]
        table.append(
            [
                f"g01, blocks calibrated on 9 positions, {g01['features']['n']} frames: share of the constant guess",
                "≤ 0.6",
                f"gaze {g01['gaze']['ratio']:.2f}, features {g01['features']['ratio']:.2f}",
            ]
        )
    for name, unit, digits in (("g03", " px", 0), ("g04", " px", 0), ("g08", " half-windows", 3)):
        if name in eyes:
            best, raw = eyes[name]["all outputs"], eyes[name]["raw pixels"]
            table.append(
                [
                    f"{name}, 9 targets calibrate: share of the raw-pixel ridge in the same run",
                    "≤ 0.8",
                    f"{best['of_raw_pixels']:.2f} ({interval_text(best['interval'], 1, digits)}{unit}; "
                    f"raw {raw['error_px']:.{digits}f})",
                ]
            )
    renders = eyes["renders"]
    table.append(
        [
            f"renders of {renders['n']} test people, any pose and light, uncalibrated: median; errors within sigma",
            "≤ 1.5°; .63 to .73",
            f"{interval_text(renders['gaze_median_deg'], 1, 2)}°; {renders['within_sigma_angle']:.2f}",
        ]
    )
    for name in ("real", "renders"):
        spoilt = eyes[f"robustness, {name}"]
        cells = [f"{k} {spoilt[k]['of_clean']:.2f} ({100 * spoilt[k]['low_confidence']:.0f} %)" for k in SPOILT]
        table.append([f"spoilt eyes, {name}: error of the clean ones (low confidence)", "≤ 1.5", ", ".join(cells)])
    used = manifest["landmarks"]["macs"] + manifest["eyes"]["macs"]
    size = sum((models / "onnx" / f"{n}.onnx").stat().st_size for n in ("face", "landmarks", "eyes"))
    own = manifest["eyes"]
    table += [
        [
            "eye network, both eyes",
            "≤ 150 K, ≤ 6 MMAC",
            f"{own['parameters'] / 1e3:.0f} K, {own['macs'] / 1e6:.1f} MMAC",
        ],
        ["networks of a tracked frame", "≤ 10 MMAC", f"{used / 1e6:.1f} MMAC"],
        ["files of these three", "≤ 1.5 MB", f"{size / 1e6:.2f} MB"],
    ]
    if int8:
        before, after = (max(int8[f"{name}, {kind}"][0] for name in ("real", "render")) for kind in ("float", "int8"))
        table.append(
            [
                "int8 variant of the eye network: error, time, size over the float one's",
                "ship the better",
                f"{after / before:.2f}, {int8['ms_int8'] / int8['ms_float']:.2f}, "
                f"{int8['bytes'][1] / int8['bytes'][0]:.2f}: float ships",
            ]
        )
    if "real" in dft and "render" in dft:
        theirs, own = (
            " / ".join(f"{interval_text(dft[k + suffix], 1, 1)}°" for k in ("real", "render"))
            for suffix in ("", ", eyes")
        )
        table.append(
            [
                f"gaze of {dft['real, n']} real and {dft['render, n']} rendered test faces, median: distance to the "
                "teacher's / error, DFT Gaze rebuilt beside ours",
                "no more than its",
                f"{own}; DFT Gaze {theirs}",
            ]
        )
        share = dft["ms_eyes"] / dft["ms_dft"]
        table.append(
            [
                "eye network's time over DFT Gaze's, ONNX Runtime, one thread, one run",
                "≤ 1/15",
                f"1/{1 / share:.0f} ({dft['ms_eyes']:.2f} of {dft['ms_dft']:.1f} ms)",
            ]
        )
    return table


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--smoke", action="store_true", help="a few pictures; the table is printed only")
    arguments = parser.parse_args()
    files = {"eyes": "eyes/evaluation.json", "int8": "eyes/int8.json", "dft": "dft/evaluation.json"}
    figures = {}
    for name, file in files.items():
        path = arguments.runs / file
        if name == "eyes" and not path.exists():
            parser.error(f"{path} is missing: run gaze_models.evaluate first")
        figures[name] = json.loads(path.read_text()) if path.exists() else {}
    chain = measure_chain(arguments.models, arguments.data, 16 if arguments.smoke else None)
    table = [["measure", "aim", "reached (95 %)"], ["---", "---", "---"]]
    table += rows(chain, **figures, models=arguments.models)
    text = "\n".join(f"| {' | '.join(row)} |" for row in table).replace("| --- | --- | --- |", "|---|---|---|")
    print(text)
    readme = arguments.models / "README.md"
    if not arguments.smoke:
        before, rest = readme.read_text().split(BEGIN, 1)
        readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()
