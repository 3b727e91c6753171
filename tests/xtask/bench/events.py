"""Event detectors side by side on hand-labelled recordings: `cargo xtask bench events --data DIR`.

Run with numpy and pandas. Every method labels the same rows; `gaze_models.events_score` scores them. Clips and people
are those that the network was not trained on (`test` in models/training/configs/events.toml); lund2013 is no training
data at all. The peers run in Python environments of their own, by this same file (`peer`).
"""

import argparse
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "models/training"))
from gaze_models.events_score import KINDS, score  # noqa: E402  the path comes first

NOISE_SEED = 8
# The peers take about as long as the recordings: every so-many-th recording is enough to see them.
PEERS_TAKE_EVERY = 6


def cases(data: Path) -> dict:
    """Name -> rows (recording, t_us, x_deg, y_deg, valid, label)."""
    config = tomllib.loads((ROOT / "models/training/configs/events.toml").read_text())["data"]

    def load(folder: str, names: list) -> pandas.DataFrame:
        return pandas.concat([pandas.read_csv(data / folder / f"{name}.csv.gz") for name in names])

    gazecom = load("gazecom", config["test"])
    images = [path.name.removesuffix(".csv.gz") for path in sorted((data / "lund2013").glob("*_img_*.csv.gz"))]
    slow = gazecom[gazecom.groupby("recording", sort=False).cumcount() % 8 == 0]

    def noisy(sigma_deg: float) -> pandas.DataFrame:
        rng = np.random.default_rng(NOISE_SEED)
        moved = slow[["x_deg", "y_deg"]] + rng.normal(0, sigma_deg, (len(slow), 2))
        return slow.assign(x_deg=moved["x_deg"], y_deg=moved["y_deg"])

    part = gazecom["recording"].unique()[::PEERS_TAKE_EVERY]
    return {
        "GazeCom 250 Hz": gazecom,
        "GazeCom 31 Hz": slow,
        "GazeCom 31 Hz, noise 0.25° SD": noisy(0.25),
        "GazeCom 31 Hz, noise 0.5° SD": noisy(0.5),
        "GazeCom 250 Hz, every sixth recording": gazecom[gazecom["recording"].isin(part)],
        "Lund2013 images 500 Hz": load("lund2013", images),
        "lookAtPoint 1000 Hz": load("lookatpoint", config["test_people"]),
    }


def scores_of(truth: pandas.DataFrame, labels: pandas.DataFrame) -> dict:
    """Scores of one method on one case."""
    if not (truth["recording"].to_numpy() == labels["recording"].to_numpy()).all():
        raise SystemExit("the labels are not those of the case")
    number = pandas.factorize(truth["recording"])[0]
    return score(number, truth["label"].to_numpy(str), labels["label"].to_numpy(str))


def row(case: str, method: str, found: dict, cost: str) -> str:
    """One line of the table."""
    texts = [" / ".join(f"{found[kind][measure]:.3f}" for kind in KINDS) for measure in ("sample_f1", "event_f1", "kappa")]
    return f"| {case} | {method} | {texts[0]} | {texts[1]} | {texts[2]} | {cost} |"


def run(arguments: argparse.Namespace) -> None:
    """Write the cases, run every method on them, print the table."""
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    print("| recordings | method | sample F1: F / S / P | event F1: F / S / P | kappa: F / S / P | cost a sample, delay |")
    print("|---|---|---|---|---|---|", flush=True)
    for number, (case, truth) in enumerate(cases(arguments.data).items()):
        rows, labels = arguments.scratch / f"{number}.csv", arguments.scratch / f"{number}.labels.csv"
        truth.to_csv(rows, index=False, float_format="%.4f")
        for detector in ("network", "adaptive", "ivt", "ivt-noise", "idt"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            command = [arguments.gazed, "events", "--in", rows, "--out", labels, "--detector", detector]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            took_us = 1e6 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / len(truth)
            cost = f"{took_us:.1f} µs, {said.split('decision delay ')[-1].strip()}"
            print(row(case, detector, scores_of(truth, pandas.read_csv(labels)), cost), flush=True)
        if "sixth" not in case and "Lund" not in case:
            continue
        for python, method in (
            (arguments.remodnav, "remodnav"),
            (arguments.remodnav, "i2mc"),
            (arguments.pymovements, "pymovements"),
        ):
            subprocess.run([python, __file__, "peer", method, rows, labels], check=True, stdout=subprocess.DEVNULL)
            print(row(case, method, scores_of(truth, pandas.read_csv(labels)), "offline"), flush=True)


def remodnav_labels(t_us: np.ndarray, gaze: np.ndarray, rate: float) -> np.ndarray:
    """Labels of REMoDNaV with its defaults, but for the filter's length, which has to fit the rate."""
    from remodnav.clf import EyegazeClassifier

    detector = EyegazeClassifier(px2deg=1.0, sampling_rate=rate)
    table = np.core.records.fromarrays(gaze.T, names=["x", "y"])
    events = detector(detector.preproc(table, savgol_length=0.03 if rate < 400 else 0.019))
    label = np.full(len(t_us), "B")
    names = {"FIXA": "F", "PURS": "P", "SACC": "S", "ISAC": "S"}
    for event in events:
        # After a saccade: low and high velocity oscillations.
        letter = names.get(event["label"], "O")
        first, last = round(event["start_time"] * rate), round(event["end_time"] * rate)
        label[first : last + 1] = letter
    return label


def i2mc_labels(t_us: np.ndarray, gaze: np.ndarray, rate: float) -> np.ndarray:
    """Fixations of I2MC; whatever is none is labelled S, because it knows nothing else."""
    from I2MC import I2MC

    px_per_deg = 30.0
    eye = np.where(np.isnan(gaze), -9999.0, gaze * px_per_deg + np.array([960.0, 540.0]))
    found = I2MC(
        {"time": t_us / 1000.0, "L_X": eye[:, 0], "L_Y": eye[:, 1]},
        {"xres": 1920.0, "yres": 1080.0, "freq": rate, "missingx": -9999.0, "missingy": -9999.0,
         "scrSz": [53.0, 30.0], "disttoscreen": 57.0},
    )
    label = np.full(len(t_us), "S")
    for start, end in zip(found[0]["startT"], found[0]["endT"], strict=True):
        label[(t_us / 1000.0 >= start) & (t_us / 1000.0 <= end)] = "F"
    label[np.isnan(gaze[:, 0])] = "B"
    return label


def pymovements_labels(t_us: np.ndarray, gaze: np.ndarray, rate: float) -> np.ndarray:
    """Saccades of pymovements' microsaccade algorithm (Engbert & Kliegl), its I-VT for the rest."""
    from pymovements.events import ivt, microsaccades
    from pymovements.transforms.numpy import pos2vel

    seen = ~np.isnan(gaze[:, 0])
    filled = np.stack([np.interp(t_us, t_us[seen], gaze[seen, axis]) for axis in range(2)], 1)
    velocity = pos2vel(filled, sampling_rate=rate, method="smooth")
    times = np.arange(len(t_us))
    label = np.full(len(t_us), "B")
    for events, letter in (
        (ivt(velocity, timesteps=times, minimum_duration=1, velocity_threshold=45.0), "F"),
        (microsaccades(velocity, timesteps=times, minimum_duration=3), "S"),
    ):
        for event in events.frame.iter_rows(named=True):
            label[event["onset"] : event["offset"] + 1] = letter
    label[~seen] = "B"
    return label


def peer(arguments: argparse.Namespace) -> None:
    """Label a file with one peer."""
    method = {"remodnav": remodnav_labels, "i2mc": i2mc_labels, "pymovements": pymovements_labels}[arguments.method]
    rows = pandas.read_csv(arguments.rows)
    parts = []
    for _, part in rows.groupby("recording", sort=False):
        gaze = part[["x_deg", "y_deg"]].to_numpy(float, copy=True)
        gaze[part["valid"].to_numpy() == 0] = np.nan
        t_us = part["t_us"].to_numpy()
        rate = 1e6 / np.median(np.diff(t_us))
        try:
            label = method(t_us, gaze, rate)
        except Exception as error:  # noqa: BLE001  a peer that gives up labels nothing
            print(f"{arguments.method}: {part['recording'].iloc[0]}: {error}", file=sys.stderr)
            label = np.full(len(part), "B")
        parts.append(part[["recording", "t_us"]].assign(label=label))
    pandas.concat(parts).to_csv(arguments.labels, index=False)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    run_parser = commands.add_parser("run")
    for name in ("gazed", "data", "scratch", "remodnav", "pymovements"):
        run_parser.add_argument(f"--{name}", type=Path, required=True)
    run_parser.set_defaults(step=run)
    peer_parser = commands.add_parser("peer")
    peer_parser.add_argument("method")
    peer_parser.add_argument("rows", type=Path)
    peer_parser.add_argument("labels", type=Path)
    peer_parser.set_defaults(step=peer)
    arguments = parser.parse_args()
    arguments.step(arguments)


if __name__ == "__main__":
    main()
