"""The scanpath transformer, its references and what they are measured by."""

import gzip
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaze_models.common import MODELS
from gaze_models.scanpath_appearance import appearance, reduce
from gaze_models.scanpath_compare import calibration_error_by_chance
from gaze_models.scanpath_data import CLASSES, Scene, class_number, load_set, make_batch, with_appearance
from gaze_models.scanpath_export import Step
from gaze_models.scanpath_network import (
    DWELL_CENTRE,
    DWELL_SCALE,
    TRACES,
    Scanpath,
    Size,
    catchment,
    dwell_log_density,
    unroll,
)
from gaze_models.scanpath_reference import ConditionalLogit, Oat, position_table
from gaze_models.scanpath_sampling import behaviour, common_length, sequence_score
from gaze_models.scanpath_train import augment, choice_terms, train

GOLDEN = MODELS / "golden" / "scanpath"


def drawn(n: int) -> Scene:
    return next(s for s in with_appearance(load_set(GOLDEN)) if s.scene_id == f"drawn-{n}")


def network() -> Scanpath:
    torch.manual_seed(0)
    return Scanpath(Size()).eval()


def test_classes_have_their_names_and_aliases() -> None:
    assert CLASSES == 81
    assert class_number("tvmonitor") == class_number("tv") > 0
    assert class_number("target") == class_number(None) == 0


def test_fixations_become_dwells(tmp_path: Path) -> None:
    scene = {
        "scene_id": "s", "width_px": 800, "height_px": 600, "task": "free_viewing", "target": None, "image": None,
        "objects": [{"id": k, "box": [300 * k, 0, 100, 100], "class": None, "score": 1} for k in range(2)],
    }  # fmt: skip
    fixations = [(None, 400, 300, 9), (0, 1, 1, 100), (None, 5, 5, 9), (0, 400, 400, 150), (1, 1, 1, None)]
    keys = ("object", "x_px", "y_px", "duration_ms")
    path = {"scene_id": "s", "observer": "o", "fixations": [dict(zip(keys, f, strict=True)) for f in fixations]}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(scene))
    (tmp_path / "paths.jsonl.gz").write_bytes(gzip.compress(json.dumps(path).encode()))
    (read,) = load_set(tmp_path)[0].paths
    assert read.objects.tolist() == [0, 1]
    assert read.dwell_ms[0] == 250 and math.isnan(read.dwell_ms[1])
    assert np.allclose(read.gaze[0], [0, 0.1]) and np.allclose(read.start, [0, 0])


def test_one_step_at_a_time_says_what_the_whole_path_says() -> None:
    scene = drawn(7)
    net = network()
    batch = make_batch([scene], [scene.paths], net.size.appearance)
    with torch.no_grad():
        logits, end, dwells = unroll(net, batch)
        step = Step(net, 1.0, 1.0)
        codes = net.encode(batch.objects, batch.appearance, batch.task)
        path = scene.paths[1]
        traces, memory = torch.zeros(1, 7, TRACES), torch.zeros(1, net.size.path)
        for t in range(len(path.objects) + 1):
            chosen, dwell = torch.zeros(1, 7), torch.zeros(1, 2)
            gaze = torch.zeros(1, 3)
            if t:
                chosen[0, path.objects[t - 1]] = 1
                if np.isfinite(path.dwell_ms[t - 1]):
                    dwell[0] = torch.tensor([(math.log(path.dwell_ms[t - 1]) - DWELL_CENTRE) / DWELL_SCALE, 1])
                gaze[0] = torch.tensor([*path.gaze[t - 1], 1])
            elif np.isfinite(path.start[0]):
                gaze[0] = torch.tensor([*path.start, 1])
            traces, memory, one, one_end, one_dwells = step(batch.objects, codes, traces, memory, chosen, dwell, gaze)
            assert torch.allclose(one[0], logits[0, 1, t], atol=1e-4)
            assert torch.allclose(one_end[0, 0], end[0, 1, t], atol=1e-4)
            assert torch.allclose(one_dwells[0], dwells[0, 1, t], atol=1e-4)


def test_empty_slots_change_nothing() -> None:
    small, large = drawn(7), drawn(20)
    net = network()
    alone = make_batch([small], [small.paths], net.size.appearance)
    beside = make_batch([small, large], [small.paths, large.paths], net.size.appearance)
    with torch.no_grad():
        a, b = unroll(net, alone)[0], unroll(net, beside)[0]
    for k, path in enumerate(small.paths):
        steps = len(path.objects) + 1
        x, y = torch.log_softmax(a[0, k, :steps], -1), torch.log_softmax(b[0, k, :steps], -1)
        assert torch.allclose(x, y[:, :7], atol=1e-4)


def test_the_past_alone_decides() -> None:
    scene = drawn(20)
    net = network()
    batch = make_batch([scene], [[scene.paths[2]]], net.size.appearance)
    with torch.no_grad():
        before = unroll(net, batch)[0]
        batch.chosen[0, 0, -1] = (batch.chosen[0, 0, -1] + 1) % 20
        batch.gaze[0, 0, -1] += 0.1
        batch.dwell[0, 0, -1] = 5.0
        after = unroll(net, batch)[0]
    assert torch.equal(before[:, :, :-1], after[:, :, :-1])
    assert not torch.equal(before[:, :, -1], after[:, :, -1])


def test_a_dwells_density_has_mass_1() -> None:
    mixture = torch.tensor([math.log(0.5), math.log(0.3), math.log(0.2), -0.5, 0.0, 1.0, -0.3, 0.0, 0.2])
    ms = torch.arange(1, 60000).float()
    assert abs(float(dwell_log_density(mixture, torch.log(ms)).exp().sum()) - 1) < 1e-3


def test_references_give_the_current_object_no_chance() -> None:
    scene = drawn(7)
    batch = make_batch([scene], [scene.paths], 20)
    torch.manual_seed(0)
    for logits, end in (ConditionalLogit(True)(batch), Oat().eval()(batch, None)):
        terms = choice_terms(logits, end, batch)
        chances = torch.softmax(logits, -1)
        current = batch.chosen[0, 1, 0]
        assert chances[0, 1, 1, current] < 1e-6
        assert torch.isfinite(terms["nll"]).all() and torch.isfinite(terms["end"]).all()


def test_a_training_that_was_broken_off_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tomllib.loads((MODELS / "training/configs/scanpath_all.toml").read_text())
    config["training"] |= {"epochs": 3, "choices": 20}
    scenes = [drawn(7), drawn(20)]
    for run in ("whole", "broken"):
        (tmp_path / run).mkdir()
    whole = train(config, scenes, [], tmp_path / "whole")
    batches = 0

    def broken_off(*arguments: Any) -> None:  # noqa: ANN401
        nonlocal batches
        batches += 1
        if batches == 4:  # the second of the second pass
            raise KeyboardInterrupt
        augment(*arguments)

    monkeypatch.setattr("gaze_models.scanpath_train.augment", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train(config, scenes, [], tmp_path / "broken")
    monkeypatch.undo()
    resumed = train(config, scenes, [], tmp_path / "broken")
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name])


def test_oat_reads_each_path_alone() -> None:
    scene = drawn(20)
    torch.manual_seed(0)
    oat = Oat().eval()
    with torch.no_grad():
        together = oat(make_batch([scene], [scene.paths], 20), None)
        for k, path in enumerate(scene.paths):
            alone = oat(make_batch([scene], [[path]], 20), None)
            steps = len(path.objects) + 1
            for a, b in zip(alone, together, strict=True):
                assert torch.allclose(a[0, 0, :steps], b[0, k, :steps], atol=1e-4)


def test_oats_table_has_its_similarities() -> None:
    table = position_table(20)
    unit = table / table.norm(dim=1, keepdim=True)
    assert torch.allclose(table.norm(dim=1), table.norm(dim=1)[0].expand(20), rtol=1e-3)
    assert abs(float(unit[3] @ unit[5]) - math.exp(-4 / 8)) < 1e-3


def test_few_steps_look_uncalibrated_by_chance() -> None:
    # The mean of 1,000 coins is sqrt(2 / pi) * .5 / sqrt(1000) from .5 on average; 50 draws of it vary by a tenth.
    assert calibration_error_by_chance(np.full(1000, 0.5)) == pytest.approx(0.0126, rel=0.3)


def test_sequence_scores_by_hand() -> None:
    assert common_length([1, 2, 3], [4, 1, 3, 2]) == 2
    assert sequence_score([1, 2, 3], [4, 1, 3, 2]) == 0.5
    assert sequence_score([], []) == 1


def test_behaviour_counts_returns() -> None:
    scene = drawn(7)
    # 1 comes back after one other object, 2 after two; four of seven objects are seen.
    assert behaviour([1, 2, 1, 3, 2, 4], scene).tolist() == [0, 6, 4 / 7, 1, 1]


def test_a_bright_square_stands_out() -> None:
    picture = np.zeros((160, 160, 3), np.uint8)
    picture[40:80, 40:80] = 255
    found = appearance(reduce(picture), np.array([[0.25, 0.25, 0.25, 0.25], [0.7, 0.7, 0.2, 0.2]]))
    assert found[0, 0] == 1 and found[0, 3] == 4
    assert found[1, 0] == 0 and found[0, 12] > found[1, 12]


def test_a_box_catches_less_where_a_smaller_one_lies_on_it() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.17, 0.0, 0.2, 0.1], [9.0, 9.0, 0.1, 0.1]]])
    there = torch.tensor([[[1.0], [1.0], [1.0]]])
    large, _, alone = catchment(boxes, there)[0]
    # 25 points .115 apart; the small box has those at (.115, 0) and (.23, 0).
    assert large[0].item() == pytest.approx(-(0.115 + 0.23) / 23.2, abs=1e-5)
    assert large[1].item() == pytest.approx(0, abs=1e-6)
    # All 25 points count, those beside the box too, since they are less than `REACH` away.
    assert alone[:2].tolist() == pytest.approx([9, 9], abs=1e-5)
    assert alone[3].item() == pytest.approx(math.log(25.2 / 25 * 0.175**2 + 1e-4) + 4, abs=1e-5)
