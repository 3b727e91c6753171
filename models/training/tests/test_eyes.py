"""Signs, mirrors and shapes of the eye network's training: what would go wrong in silence."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gaze_models.data import Crop, eye_crops, face_axes
from gaze_models.eyes import SIGMA_SHARE, angular_error, shape_of
from gaze_models.eyes_augment import (
    Faults,
    cover,
    cut_patch,
    hide_eye,
    move_points,
    move_truth,
    turn_angles,
    wear_glasses,
)
from gaze_models.eyes_batches import EYE_RADIUS, Batches, augment, choose, directions
from gaze_models.eyes_evaluate import calibrated_error, fit_ridge_affine, roc_auc
from gaze_models.eyes_network import FEATURES, EyeNetwork
from gaze_models.eyes_patches import (
    PATCH_H,
    PATCH_W,
    close_lid,
    cut_contract,
    cut_wide,
    eye_lids,
    eye_truth,
    look_aside,
    widen,
)
from gaze_models.eyes_seen import against
from gaze_models.eyes_sets import EyeSet, balance, other_views, plain_batch
from gaze_models.head_pose import HEAD_MM, RIGID, head_angles
from gaze_models.render import read_renders
from gaze_models.teacher import eye_squares
from gaze_models.train import hold


def face_points(iris_shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return 49 points of an upright face, eyes 100 px apart, both irises shifted from the eyes' middles."""
    points = np.zeros((49, 2))
    for first, centre in ((0, 150.0), (16, 250.0)):
        outer = -1 if first == 0 else 1
        angle = np.arange(16) / 16 * 2 * np.pi
        points[first : first + 16, 0] = centre + outer * 20 * np.cos(angle)
        points[first : first + 16, 1] = 200 - 7 * np.sin(angle)
    for iris, centre in ((32, 150.0), (37, 250.0)):
        middle = np.array([centre, 200.0]) + iris_shift
        points[iris : iris + 5] = middle + 5 * np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]])
    points[42:49] = [[200, 250], [170, 290], [230, 290], [200, 120], [200, 340], [110, 230], [290, 230]]
    return points


def picture_with_irises(points: np.ndarray) -> np.ndarray:
    grey = np.full((400, 400), 200, np.uint8)
    for iris in (32, 37):
        cv2.circle(grey, np.round(points[iris]).astype(int).tolist(), 5, 20, -1)
    return grey


def dark_centre(patch: np.ndarray) -> np.ndarray:
    """Return where the dark disc is, in patch units."""
    weight = np.clip(patch.max() - patch - 0.5 * np.ptp(patch), 0, None).astype(float)
    rows, columns = np.indices(patch.shape)
    where = np.array([(weight * (columns + 0.5)).sum(), (weight * (rows + 0.5)).sum()]) / weight.sum()
    return where / patch.shape[::-1]


def test_the_iris_is_where_the_truth_says_in_both_contract_patches() -> None:
    points = face_points((6.0, -3.0))
    patches = cut_contract(picture_with_irises(points), points)
    truth = eye_truth(points)
    assert patches.shape == (2, 1, PATCH_H, PATCH_W)
    right, left = dark_centre(patches[0, 0]), dark_centre(patches[1, 0])
    assert right == pytest.approx(truth[0, :2], abs=0.01)
    # the left eye is mirrored: what lies towards the picture's right lies towards the nose
    assert left == pytest.approx([1 - truth[1, 0], truth[1, 1]], abs=0.01)
    assert right[0] > 0.5 > left[0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_jittered_truth_follows_the_jittered_picture(mirrored: bool) -> None:
    points = face_points((5.0, 2.0))
    wide = cut_wide(picture_with_irises(points), points)[0]
    place = 0.1, 1.1, np.array([3.0, -2.0]), mirrored
    found = dark_centre(cut_patch(wide, *place))
    assert found == pytest.approx(move_truth(eye_truth(points)[0], *place)[:2], abs=0.012)


def test_the_plain_cut_is_the_contract_patch() -> None:
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.integers(0, 255, (400, 400)).astype(np.uint8), (0, 0), 3)
    points = face_points()
    exact = cut_contract(grey, points)[:, 0] * 255
    wide = cut_wide(grey, points)
    for eye in range(2):
        again = cut_patch(wide[eye], 0.0, 1.0, np.zeros(2), eye == 1)
        assert np.abs(again - exact[eye]).mean() < 1.5  # resampled twice


def test_a_closed_lid_hides_the_iris_and_leaves_the_rest() -> None:
    points = face_points()
    picture = picture_with_irises(points)
    wide, lids = cut_wide(picture, points), eye_lids(points)
    for eye in range(2):
        closed = close_lid(wide[eye], lids[eye], 1.0)
        assert wide[eye].min() < 60 and closed[:36].min() > 150
        assert np.array_equal(close_lid(wide[eye], lids[eye], 0.0), wide[eye])


def test_turning_the_frame_clockwise_turns_a_look_aside_into_a_look_up() -> None:
    # x' of a frame turned by 90 degrees clockwise is the picture's y (down): looking to +x is then looking up
    found = turn_angles(np.array([[0.3, 0.0]]), np.array([np.pi / 2]))
    assert found[0] == pytest.approx([0.0, 0.3], abs=1e-6)


def test_a_mirrored_face_gets_the_mirrored_gaze() -> None:
    torch.manual_seed(0)
    network = EyeNetwork().eval()
    patches, head = torch.rand(2, 1, PATCH_H, PATCH_W), torch.tensor([[0.2, -0.1]])
    present = torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        gaze, log_sigma, eye, features = network(patches, head, present)
        mirrored = network(patches.flip(0), head * torch.tensor([[-1.0, 1.0]]), present.flip(1))
    assert gaze.shape == (1, 2) and log_sigma.shape == (1, 1) and eye.shape == (2, 6)
    assert features.shape == (1, FEATURES)
    assert torch.allclose(mirrored[0], gaze * torch.tensor([[-1.0, 1.0]]), atol=1e-6)
    assert torch.allclose(mirrored[1], log_sigma, atol=1e-6)


def test_an_absent_eye_does_not_matter() -> None:
    torch.manual_seed(1)
    network = EyeNetwork().eval()
    one, other = torch.rand(2, 1, PATCH_H, PATCH_W), torch.rand(2, 1, PATCH_H, PATCH_W)
    other[0] = one[0]
    head, present = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        assert torch.allclose(network(one, head, present)[0], network(other, head, present)[0], atol=1e-6)


def test_held_modules_neither_learn_nor_take_in_what_passes() -> None:
    network = EyeNetwork()
    hold(network, ["encoder.0"])
    before = [layer[1].running_mean.clone() for layer in network.encoder[:2]]
    network.encode(torch.rand(4, 1, PATCH_H, PATCH_W)).sum().backward()
    assert network.encoder[0][0].weight.grad is None and network.encoder[1][0].weight.grad is not None
    same = [torch.equal(layer[1].running_mean, was) for layer, was in zip(network.encoder[:2], before, strict=True)]
    assert same == [True, False]


def test_hidden_eyes_are_told_and_seldom_both() -> None:
    rng = np.random.default_rng(3)
    patches, strangers = np.zeros((2, PATCH_H, PATCH_W), np.uint8), np.full((4, PATCH_H, PATCH_W), 9, np.uint8)
    blind = 0
    for _ in range(1000):
        shown, visible, present = hide_eye(patches, strangers, rng)
        assert all((eye == patches[0]).all() for eye, seen in zip(shown, visible, strict=True) if seen)
        blind += (visible * present).sum() == 0
    assert 0 < blind < 50
    faults = Faults(0, 0.5).apply(patches, rng, rng)
    assert faults.min() >= 0 and faults.max() <= 1


def test_a_cover_leaves_nothing_of_the_iris() -> None:
    rng = np.random.default_rng(5)
    eye = np.random.default_rng(6).integers(0, 256, (PATCH_H, PATCH_W), np.uint8)
    for is_lens in (False, True):
        middles = [cover(eye, rng, is_lens)[18:30, 26:38].astype(float) for _ in range(200)]
        assert max(middle.std() for middle in middles) < 0.25 * eye.std()
    assert max(middle.mean() for middle in middles) < 90


def test_glasses_are_alike_on_both_eyes_and_seldom_hide_the_middle() -> None:
    rng, bare = np.random.default_rng(4), np.full((2, PATCH_H, PATCH_W), 128, np.uint8)
    hidden = np.zeros((PATCH_H, PATCH_W))
    for _ in range(200):
        worn = wear_glasses(bare, rng).astype(int)
        assert abs(np.subtract(*(worn < 110).mean((1, 2)))) < 0.1
        hidden += (np.abs(worn - 128) > 60).mean(0) / 200
    assert hidden.max() > 0.1 and hidden[22:26, 30:34].max() < 0.1


@pytest.mark.parametrize(("yaw", "pitch"), [(0.3, 0.0), (0.0, 0.25), (-0.4, -0.2)])
def test_head_angles_of_the_turned_generic_head_come_back(yaw: float, pitch: float) -> None:
    look = np.array([np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)])
    z = -look
    x = np.array([z[2], 0.0, -z[0]]) / np.hypot(z[0], z[2])
    turned = HEAD_MM @ np.stack([x, np.cross(z, x), z])
    points = np.zeros((49, 2))
    points[RIGID] = turned[:, :2] + 300
    _, _, u, _ = face_axes(points)
    roll = np.array([np.arctan2(u[1], u[0])])
    expected = turn_angles(np.array([[yaw, pitch]]), roll)[0]
    assert head_angles(points) == pytest.approx(expected, abs=1e-4)


def test_the_teachers_eye_squares_come_in_picture_order() -> None:
    points = face_points()
    grey = np.zeros((400, 400), np.uint8)
    grey[:, 200:] = 255
    left_of_picture, right_of_picture = eye_squares(grey, points, 1.0, np.zeros(2))
    assert left_of_picture.mean() < 10 and right_of_picture.mean() > 245
    assert left_of_picture.shape == (60, 60)


def test_calibration_recovers_an_affine_observer() -> None:
    rng = np.random.default_rng(0)
    targets = rng.uniform([0, 0], [1920, 1080], (400, 2))
    angles = (targets - [960, 540]) / [-2000, -2000] + [0.1, -0.2]
    result = calibrated_error(angles, targets, np.arange(400), (1920, 1080), strength=1e-6)
    assert result["error"] < 1 and result["ratio"] < 0.01
    fitted = fit_ridge_affine(angles, targets, 1e-9)
    assert np.hstack([angles, np.ones((400, 1))]) @ fitted == pytest.approx(targets, abs=0.1)


def test_angles_and_ranks_are_what_they_say() -> None:
    found = angular_error(np.array([[0.1, 0.0]]), np.array([[0.0, 0.0]]))
    assert found[0] == pytest.approx(np.rad2deg(0.1), abs=1e-4)
    assert roc_auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert roc_auc(np.array([1.0]), np.array([1.0])) == 0.5


def test_rare_gaze_directions_are_drawn_more_often() -> None:
    gaze = np.concatenate([np.zeros((95, 2)), np.full((5, 2), 0.5)])
    weights = balance(gaze, 0.6)
    assert weights.sum() == pytest.approx(1) and weights[-1] > 2 * weights[0]


def test_crop_units_are_shared_with_the_contract() -> None:
    crop = Crop(np.array([10.0, 10.0]), np.array([1.0, 0.0]), 64.0, PATCH_W, PATCH_H)
    assert crop.points_from_source(np.array([10.0, 10.0])) == pytest.approx([0.5, 0.5])


def test_renders_that_lie_turned_in_the_frame_are_read_upright(tmp_path: Path) -> None:
    roll, count = 0.2, 2
    points = face_points((5.0, 3.0))
    cos, sin = np.cos(roll), np.sin(roll)
    turned = (points - 200) @ np.array([[cos, sin], [-sin, cos]]) + 200
    picture = picture_with_irises(turned)
    crops = [dataclasses.replace(widen(crop), u=np.array([1.0, 0.0])) for crop in eye_crops(turned)]
    patches = np.stack([np.round(crop.sample(picture)).astype(np.uint8) for crop in crops])
    values = {f"lm{k}_{axis}": turned[k, i] for k in range(49) for i, axis in enumerate("xy")}
    for k, side in enumerate(("right", "left")):
        values |= {f"{side}_openness": 0.5, f"{side}_visible": 1.0, f"{side}_crop_w": crops[k].width}
    values["has_glasses"] = 1.0
    for name in ("head_normalised", "gaze_normalised"):
        values |= {f"{name}_yaw": 0.1, f"{name}_pitch": 0.2}
    np.stack([patches] * count).tofile(tmp_path / "eyes.u8")
    np.tile(np.array(list(values.values()), "<f4"), count).tofile(tmp_path / "truth.f32")
    header = {"count": count, "seed": 40, "views_each": 2, "eyes": [count, 2, 64, 96], "columns": list(values)}
    (tmp_path / "truth.json").write_text(json.dumps(header))
    renders = read_renders(tmp_path)
    assert renders.roll == pytest.approx([roll, roll], abs=1e-6)
    assert renders.gaze[0] == pytest.approx([0.1, 0.2])
    assert renders.person.tolist() == [40, 40]
    assert renders.glasses.tolist() == [1, 1]
    for eye in range(2):
        place = float(renders.roll[0]), 1.0, np.zeros(2), eye == 1
        upright = cut_patch(renders.patches[0, eye], *place)
        moved = move_truth(renders.eyes[0, eye], *place)
        assert dark_centre(upright) == pytest.approx(moved[:2], abs=0.012)
        expected = eye_truth(points)[eye]
        x = 1 - expected[0] if eye else expected[0]
        assert moved[:3] == pytest.approx([x, expected[1], expected[2]], abs=1e-3)
        lids, expected = move_points(renders.lids[0, eye], *place), eye_lids(points)[eye]
        if eye:
            expected = expected * [-1, 1] + [1, 0]
        assert lids == pytest.approx(expected, abs=1e-3)


def test_another_view_is_of_the_same_person_and_another_row() -> None:
    person = np.array([3, 3, 3, 7, 9, 9])
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.integers(0, 6, 50)
        others = other_views(person, rows, rng)
        assert (person[others] == person[rows]).all()
        assert ((others != rows) | (rows == 3)).all()


def test_the_shape_of_an_eye_does_not_tell_where_the_patch_was_cut() -> None:
    points = face_points((6.0, -3.0))
    eyes, lids = eye_truth(points), eye_lids(points)
    place = 0.0, 1.0, np.array([5.0, -3.0]), False
    moved = np.stack([move_truth(eye, *place) for eye in eyes]), np.stack([move_points(c, *place) for c in lids])
    still, shifted = (shape_of(torch.from_numpy(e), torch.from_numpy(c)).numpy() for e, c in ((eyes, lids), moved))
    assert np.abs(moved[0][:, :2] - eyes[:, :2]).max() > 0.05
    assert shifted == pytest.approx(still, abs=1e-5)


def test_sigma_is_the_angle_that_68_percent_of_the_errors_stay_below() -> None:
    angles = torch.linspace(0.01, 1, 1000)
    stated = torch.linspace(0.05, 1, 96)
    losses = []
    for sigma in stated:
        beyond = torch.log(angles) - torch.log(sigma)
        losses.append(torch.maximum(SIGMA_SHARE * beyond, (SIGMA_SHARE - 1) * beyond).mean())
    best = float(stated[int(torch.stack(losses).argmin())])
    assert float((angles < best).float().mean()) == pytest.approx(SIGMA_SHARE, abs=0.02)


@pytest.mark.parametrize("is_upright", [False, True])
def test_eyes_are_learnt_as_the_landmark_network_would_have_them_cut(is_upright: bool) -> None:
    roll = 0.15
    cos, sin = np.cos(roll), np.sin(roll)
    points = (face_points((5.0, 3.0)) - 200) @ np.array([[cos, sin], [-sin, cos]]) + 200
    found = points + np.array([3.0, -2.0])
    found[16:32] += [-2.0, 4.0]
    picture = cv2.GaussianBlur(picture_with_irises(points), (0, 0), 2)
    crops = [widen(crop) for crop in eye_crops(points)]
    if is_upright:
        crops = [dataclasses.replace(crop, u=np.array([1.0, 0.0])) for crop in crops]
    shift, scale, turn = against(points, found, is_upright)
    one = {name: np.zeros((1, 2), np.float32) for name in EyeSet.__dataclass_fields__}
    one |= {
        "patches": np.stack([np.round(crop.sample(picture)).astype(np.uint8) for crop in crops])[None],
        "eyes": np.zeros((1, 2, 4), np.float32),
        "roll": np.array([roll if is_upright else 0.0]),
        "seen_shift": shift[None],
        "seen_scale": np.array([scale]),
        "seen_turn": np.array([turn]),
    }
    patches = plain_batch(EyeSet(**one))["patches"].numpy()[0]
    off, untouched = (np.abs(patches - cut_contract(picture, p)[:, 0]).mean() for p in (found, points))
    assert off < 0.25 * untouched


@pytest.mark.parametrize("shift", [(0.05, 0.0), (-0.04, 0.03), (0.02, -0.05)])
def test_an_iris_that_is_moved_lies_where_the_new_truth_says(shift: tuple[float, float]) -> None:
    points = face_points()
    points[:32, 1] = 200 + 1.8 * (points[:32, 1] - 200)  # wide open: the lids cover nothing
    wide, truth, lids = cut_wide(picture_with_irises(points), points), eye_truth(points), eye_lids(points)
    for eye in range(2):
        moved, iris, contour = look_aside(wide[eye], truth[eye], lids[eye], np.array(shift), (0.7, 0.3))
        assert iris == pytest.approx(truth[eye, :2] + shift, abs=1e-6)
        patch = cut_patch(moved, 0.0, 1.0, np.zeros(2), False)
        assert dark_centre(patch) == pytest.approx(iris, abs=0.012)
        # corners stay, lids follow by their shares
        assert contour[[0, 8]] == pytest.approx(lids[eye][[0, 8]])
        assert contour[4] - lids[eye][4] == pytest.approx([0, 0.7 * shift[1]], abs=0.002)
        assert contour[12] - lids[eye][12] == pytest.approx([0, 0.3 * shift[1]], abs=0.002)


def faces_of(people: list[int]) -> EyeSet:
    n, rng = len(people), np.random.default_rng(1)
    eyes = np.tile(np.array([0.5, 0.5, 0.09, 0.9], np.float32), (n, 2, 1))
    lids = np.tile(eye_lids(face_points()), (n, 1, 1, 1))
    pairs = {name: rng.normal(0, 0.1, (n, 2)).astype(np.float32) for name in ("head", "posed", "gaze", "seen_head")}
    ones = np.ones(n, np.float32)
    rest = {"gaze_weight": ones, "visible": np.ones((n, 2), np.float32), "person": np.array(people)}
    rest |= {"roll": 0 * ones, "seen_scale": ones, "seen_turn": 0 * ones}
    patches = rng.integers(0, 255, (n, 2, 64, 96)).astype(np.uint8)
    shift = np.zeros((n, 2, 2), np.float32)
    return EyeSet(patches=patches, eyes=eyes, lids=lids, seen_shift=shift, **pairs, **rest)


SETTINGS = {
    "render_share": 0.5,
    "aside_share": 0.25,
    "sessions": 2,
    "session_views": 4,
    "seen_share": 0.8,
    "jpeg_share": 0.2,
    "close_share": 0.2,
    "glasses_share": 0.5,
    "narrow_share": 0.1,
    "session_narrow_share": 0.5,
    "fault_share": 0.5,
    "render_fault_share": 0.5,
    "true_head_share": 0.5,
    "head_noise_deg": [2.0, 2.0],
    "balance_power": 0.5,
}


def test_a_batch_pairs_moved_irises_views_and_sessions_of_one_person_each() -> None:
    sets = {
        "real": faces_of([-1] * 8),
        "views": faces_of([1, 1, 2, 2]),
        "sessions": faces_of(sorted([7, 8, 9] * 6)),
    }
    odds = {name: np.full(len(chosen.gaze), 1 / len(chosen.gaze)) for name, chosen in sets.items()}
    rows = choose(sets, odds, SETTINGS, 16, np.random.default_rng(0))
    partner, person = rows["partner"], rows["person"]
    paired = np.flatnonzero(partner >= 0)
    assert (person[paired] == person[partner[paired]]).all()
    assert (rows["is_real"][paired] == rows["is_real"][partner[paired]]).all()
    moved = paired[rows["is_real"][paired]]
    assert len(moved) == 2
    # the irises moved as an eyeball of 10 mm radius turns
    turned = directions(rows["gaze"][moved]) - directions(rows["gaze"][partner[moved]])
    irises = rows["eyes"][moved, 0, :2] - rows["eyes"][partner[moved], 0, :2]
    assert irises * [1, PATCH_H / PATCH_W] == pytest.approx(EYE_RADIUS * turned, abs=1e-5)
    strangers, faults = np.zeros((3, 48, 64), np.uint8), Faults(0, 0.5)
    session = augment(rows, strangers, faults, SETTINGS, np.random.default_rng(1))["session"]
    for group in np.unique(session[session >= 0]):
        members = np.flatnonzero(session == group)
        assert len(members) == 4 and len(set(person[members])) == 1
    assert (session >= 0).sum() == 8


def test_loading_workers_give_the_batches_of_one_program_in_their_order() -> None:
    sets = {"real": faces_of([-1] * 8), "views": faces_of([1, 1]), "sessions": faces_of([7] * 8)}
    settings = SETTINGS | {"sessions": 1, "glare_share": 0.1}
    drawn = Batches(sets, np.zeros((3, 48, 64), np.uint8), settings, 11, range(5, 12), 8)
    with_workers = list(DataLoader(drawn, batch_size=None, num_workers=2))
    assert len(with_workers) == 7
    for batch, alone in zip(with_workers, drawn, strict=True):
        assert batch.keys() == alone.keys()
        assert all(torch.equal(batch[name], alone[name]) for name in batch)


def test_what_belongs_together_is_hidden_and_narrowed_alike() -> None:
    sets = {"real": faces_of([-1] * 4), "views": faces_of([1, 1]), "sessions": faces_of([7] * 8)}
    odds = {name: np.full(len(chosen.gaze), 1 / len(chosen.gaze)) for name, chosen in sets.items()}
    settings = SETTINGS | {"sessions": 1, "session_views": 8, "session_narrow_share": 1.0}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        batch = augment(
            choose(sets, odds, settings, 8, rng), np.zeros((3, 48, 64), np.uint8), Faults(0, 0.5), settings, rng
        )
        members = batch["session"] >= 0
        assert (batch["present"][members] == batch["present"][members][0]).all()
        assert (batch["headless"][members] == batch["headless"][members][0]).all()
        assert (batch["head"][batch["headless"]] == 0).all()
