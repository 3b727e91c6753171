"""Recordings with hand-labelled eye movements, and what the event network is told about them.

The features are computed by the code that runs on the device (``firmware/signal``, example ``event_features``), so
there is no second copy of them here.
"""

from __future__ import annotations

import gzip
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas

LABELS = "FSPBO"
FIXATION, SACCADE, PURSUIT, BLINK, OSCILLATION = range(5)
REPOSITORY = Path(__file__).parents[3]


@dataclass
class Recording:
    """One person's gaze: times (µs), places (degrees, NaN where missing) and labels (index into ``LABELS``)."""

    name: str
    group: str
    t_us: np.ndarray
    place_deg: np.ndarray
    label: np.ndarray

    def every(self, factor: int, phase: int = 0) -> Recording:
        """Every ``factor``-th sample, from ``phase`` on."""
        part = slice(phase, None, factor)
        return Recording(self.name, self.group, self.t_us[part], self.place_deg[part], self.label[part])

    def twice_as_fast(self) -> Recording:
        """With a sample halfway between every two; labels of -1 say that nobody knows.

        At such rates coders tell the oscillation after a saccade from the saccade, which these have not.
        """
        count = 2 * len(self.t_us) - 1
        t_us, label = np.zeros(count, np.uint64), np.zeros(count, np.int8)
        place = np.zeros((count, 2), np.float32)
        t_us[::2], place[::2], label[::2] = self.t_us, self.place_deg, self.label
        t_us[1::2] = (self.t_us[1:] + self.t_us[:-1]) // 2
        place[1::2] = (self.place_deg[1:] + self.place_deg[:-1]) / 2
        label[1::2] = self.label[:-1]
        ends = np.flatnonzero((label[:-1] == SACCADE) & (label[1:] != SACCADE))
        for end in ends:
            label[max(0, end - 10) : end + 8] = -1
        return Recording(self.name, self.group, t_us, place, label)

    def with_noise(self, sigma_deg: float, rng: np.random.Generator) -> Recording:
        """With white noise of this standard deviation an axis."""
        noise = rng.normal(0.0, sigma_deg, self.place_deg.shape).astype(np.float32)
        return Recording(self.name, self.group, self.t_us, self.place_deg + noise, self.label)


def load(folder: Path) -> list[Recording]:
    """Every recording of a set; ``group`` is the file's name (the clip in GazeCom, the person in lookAtPoint)."""
    recordings = []
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path) as file:
            table = pandas.read_csv(file)
        for name, part in table.groupby("recording", sort=False):
            place = part[["x_deg", "y_deg"]].to_numpy(np.float32)
            place[part["valid"].to_numpy() == 0] = np.nan
            label = np.array([LABELS.index(label) for label in part["label"]], np.int8)
            group = path.name.removesuffix(".csv.gz")
            recordings.append(Recording(str(name), group, part["t_us"].to_numpy(np.uint64), place, label))
    return recordings


def features(recordings: list[Recording], program: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each recording: the rows (n, features), the samples each stands for, whether a stream begins with it."""
    layout = np.dtype([("t", "<u8"), ("x", "<f4"), ("y", "<f4")])
    chunks = []
    for recording in recordings:
        samples = np.zeros(len(recording.t_us), layout)
        samples["t"] = recording.t_us
        samples["x"], samples["y"] = recording.place_deg.T
        chunks += [np.uint32(len(samples)).tobytes(), samples.tobytes()]
    done = subprocess.run([program], input=b"".join(chunks), stdout=subprocess.PIPE, check=True)
    width = int(subprocess.run([program, "--width"], stdout=subprocess.PIPE, check=True).stdout)
    out, at = [], 0
    for _ in recordings:
        count = int(np.frombuffer(done.stdout, "<u4", 1, at)[0])
        rows = np.frombuffer(done.stdout, "<u4", count * (1 + width), at + 4).reshape(count, 1 + width)
        at += 4 + rows.nbytes
        head = rows[:, 0]
        out.append((rows[:, 1:].view("<f4"), head & 0x7FFFFFFF, (head >> 31).astype(bool)))
    return out


def row_labels(recording: Recording, samples: np.ndarray) -> np.ndarray:
    """Return the label of the middle sample of each row."""
    last = np.cumsum(samples)
    return recording.label[np.minimum(last - samples + samples // 2, len(recording.label) - 1)]
