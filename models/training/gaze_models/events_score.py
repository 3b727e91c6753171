"""How well labels agree with a coder's: sample F1, event F1 and Cohen's kappa.

Samples that the coder marked B are left out of everything, O of the sample scores. An event is a run of one label
within a recording; a reported one finds a true one of its kind when their overlap is at least half of their union,
each used once, best overlaps first.

``python -m gaze_models.events_score TRUTH.csv[.gz] LABELS.csv`` (columns ``recording,t_us,label``) prints the scores.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas

KINDS = {"fixation": "F", "saccade": "S", "pursuit": "P"}


def runs(recording: np.ndarray, label: np.ndarray, kind: str) -> np.ndarray:
    """First and one-past-last index of each run of ``kind``, (n, 2)."""
    is_kind = np.concatenate([[False], label == kind, [False]])
    changes = np.flatnonzero(np.diff(recording.astype(np.int64)) != 0) + 1
    # A new recording ends a run: put a break between.
    inside = np.flatnonzero(np.diff(is_kind.astype(np.int8)))
    starts, ends = inside[::2], inside[1::2]
    if len(changes) and len(starts):
        cuts = changes[is_kind[changes] & is_kind[changes + 1]]
        starts, ends = np.sort(np.concatenate([starts, cuts])), np.sort(np.concatenate([ends, cuts]))
    return np.stack([starts, ends], 1) if len(starts) else np.zeros((0, 2), np.int64)


def matches(true: np.ndarray, found: np.ndarray) -> int:
    """How many true events are found."""
    if not len(true) or not len(found):
        return 0
    pairs = []
    first = np.searchsorted(found[:, 1], true[:, 0], side="right")
    last = np.searchsorted(found[:, 0], true[:, 1], side="left")
    for i in np.flatnonzero(last > first):
        for j in range(first[i], last[i]):
            both = min(true[i, 1], found[j, 1]) - max(true[i, 0], found[j, 0])
            either = max(true[i, 1], found[j, 1]) - min(true[i, 0], found[j, 0])
            if 2 * both >= either:
                pairs.append((both / either, i, j))
    count, used_true, used_found = 0, set(), set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in used_true and j not in used_found:
            count += 1
            used_true.add(i)
            used_found.add(j)
    return count


def score(recording: np.ndarray, true: np.ndarray, found: np.ndarray) -> dict:
    """Scores of labels against a coder's; all arrays of one length, ``recording`` a number for each recording."""
    true, found = np.asarray(true), np.asarray(found).copy()
    found[true == "B"] = "B"
    scored = (true != "B") & (true != "O")
    out = {"samples": int(scored.sum())}
    for name, kind in KINDS.items():
        a, b = true[scored] == kind, found[scored] == kind
        both = int((a & b).sum())
        agreed = float((a == b).mean()) if len(a) else 0.0
        chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())) if len(a) else 0.0
        true_runs, found_runs = runs(recording, true, kind), runs(recording, found, kind)
        hits = matches(true_runs, found_runs)
        out[name] = {
            "sample_f1": 2 * both / max(1, int(a.sum() + b.sum())),
            "event_f1": 2 * hits / max(1, len(true_runs) + len(found_runs)),
            "kappa": (agreed - chance) / max(1e-9, 1 - chance),
            "true_events": len(true_runs),
            "found_events": len(found_runs),
        }
    return out


def summary(scores: dict) -> str:
    """One line: sample F1, event F1 and kappa of fixation / saccade / pursuit."""
    texts = []
    for measure in ("sample_f1", "event_f1", "kappa"):
        texts.append(measure + " " + " / ".join(f"{scores[name][measure]:.3f}" for name in KINDS))
    return "; ".join(texts)


def main() -> None:
    """Score one file of labels against one file of truth."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("truth")
    parser.add_argument("labels")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    truth = pandas.read_csv(arguments.truth, dtype={"recording": str, "label": str})
    labels = pandas.read_csv(arguments.labels, dtype={"recording": str, "label": str})
    if not (truth["recording"].equals(labels["recording"]) and truth["t_us"].equals(labels["t_us"])):
        raise SystemExit("the two files are not about the same samples")
    number = pandas.factorize(truth["recording"])[0]
    scores = score(number, truth["label"].to_numpy(str), labels["label"].to_numpy(str))
    print(json.dumps(scores) if arguments.json else summary(scores))


if __name__ == "__main__":
    main()
