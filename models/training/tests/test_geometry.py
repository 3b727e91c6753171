"""Crops, mirroring and the finder's targets."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gaze_models.augment import close_eyes
from gaze_models.common import moved
from gaze_models.data import (
    FLIP,
    POINTS,
    Crop,
    eye_crops,
    face_axes,
    face_crop,
    flip_points,
    openness,
    read_rendered,
    rendered_folder,
    split_of,
)
from gaze_models.face import CELLS, cell_grid, find_faces, targets


def plain_face() -> np.ndarray:
    """Return 49 points of a level face: eyes 60 px apart, 30 px wide, 8 px open, mouth 60 px below."""
    points = np.zeros((POINTS, 2))
    angles = np.linspace(0, np.pi, 9)
    for first, x, outwards in ((0, 100.0, -1), (16, 160.0, 1)):
        points[first : first + 9] = np.stack([x + outwards * 15 * np.cos(angles), 100 - 4 * np.sin(angles)], -1)
        lower = angles[-2:0:-1]
        points[first + 9 : first + 16] = np.stack([x + outwards * 15 * np.cos(lower), 100 + 4 * np.sin(lower)], -1)
    for first, x in ((32, 100.0), (37, 160.0)):
        points[first : first + 5] = np.array([[x, 100], [x + 5, 100], [x, 95], [x - 5, 100], [x, 105]])
    points[42:] = [[130, 130], [115, 160], [145, 160], [130, 60], [130, 190], [80, 120], [180, 120]]
    return points


def test_points_survive_a_round_trip_through_a_turned_crop() -> None:
    points = plain_face()
    crop = Crop(np.array([120.0, 90.0]), np.array([np.cos(0.3), np.sin(0.3)]), 180.0, 64, 48)
    np.testing.assert_allclose(crop.points_to_source(crop.points_from_source(points)), points, atol=1e-9)


def test_pixel_and_point_conventions_of_a_crop_agree() -> None:
    crop = Crop(np.array([120.0, 90.0]), np.array([np.cos(0.3), np.sin(0.3)]), 180.0, 64, 48)
    i, j = 10, 20
    source = crop.to_source() @ [i, j, 1]
    np.testing.assert_allclose(crop.points_from_source(source), [(i + 0.5) / 64, (j + 0.5) / 48])


def test_face_crop_follows_the_contract() -> None:
    crop = face_crop(plain_face())
    np.testing.assert_allclose(crop.centre, [130, 100 + 0.35 * 60])
    np.testing.assert_allclose(crop.u, [1, 0])
    assert crop.width == pytest.approx(3.2 * 60)


def test_eye_patches_share_one_scale() -> None:
    right, left = eye_crops(plain_face())
    np.testing.assert_allclose(right.centre, [100, 100])
    np.testing.assert_allclose(left.centre, [160, 100])
    assert right.width == left.width == pytest.approx(0.85 * 60)


def test_crop_samples_the_pixel_under_its_middle() -> None:
    picture = np.arange(100 * 120, dtype=np.float32).reshape(100, 120) % 251
    crop = Crop(np.array([50.0, 40.0]), np.array([1.0, 0.0]), 5.0, 5, 5)
    np.testing.assert_allclose(crop.sample(picture), picture[38:43, 48:53])


def test_large_crops_average_their_sub_samples() -> None:
    picture = np.zeros((64, 64), np.float32)
    picture[:, ::2] = 200
    crop = Crop(np.array([31.5, 31.5]), np.array([1.0, 0.0]), 32.0, 16, 16)
    np.testing.assert_allclose(crop.sample(picture), 100.0)


def test_flip_is_its_own_inverse() -> None:
    points = plain_face() + np.random.default_rng(0).normal(size=(POINTS, 2))
    assert sorted(FLIP) == list(range(POINTS))
    np.testing.assert_allclose(flip_points(flip_points(points, 300), 300), points)


def test_flip_of_a_symmetric_face_changes_nothing() -> None:
    points = plain_face()
    np.testing.assert_allclose(flip_points(points, 260), points, atol=1e-9)


def test_openness_is_aperture_over_width() -> None:
    np.testing.assert_allclose(openness(plain_face()), [8 / (0.35 * 30)] * 2)


def test_shut_lids_have_no_opening_and_the_iris_stays() -> None:
    points = plain_face()
    picture = np.full((220, 260), 100.0, np.float32)
    _, closed = close_eyes(picture, points, (1.0, 0.0))
    np.testing.assert_allclose(openness(closed), [0, openness(points)[1]], atol=0.02)
    np.testing.assert_allclose(closed[32:42], points[32:42])


def test_axes_turn_with_the_face() -> None:
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    eyes, mouth, u, scale = face_axes(plain_face() @ turn.T)
    np.testing.assert_allclose(u, [np.cos(0.4), np.sin(0.4)])
    np.testing.assert_allclose(mouth - eyes, turn @ [0, 60])
    assert scale == pytest.approx(60)


def test_nobody_is_in_two_splits() -> None:
    names = [f"person {k}" for k in range(4000)]
    shares = {s: sum(split_of(n) == s for n in names) / 4000 for s in ("train", "val", "test")}
    assert abs(shares["test"] - 0.10) < 0.02 and abs(shares["val"] - 0.05) < 0.02
    assert [split_of(n) for n in names] == [split_of(n) for n in names]


def test_targets_ask_the_cells_in_the_middle_of_a_face() -> None:
    points = plain_face() * 0.2
    box = np.array([60.0, 50, 80, 74])
    target = targets([box], [points], [])
    grid = cell_grid()
    assert target.shape == (CELLS, 15)
    asked = grid[target[:, 0] == 1]
    assert len(asked) > 0 and (asked[:, 2] == 8).all()
    assert (np.abs(asked[:, :2] - [70, 62]) < 8).all()
    np.testing.assert_allclose(target[target[:, 0] == 1][0, 1:5], [70, 62, 20, 24])


def test_overlapping_finds_become_one() -> None:
    cells = np.zeros((3, 15))
    cells[:, 0] = [2.0, 1.0, 3.0]
    cells[:, 1:5] = [[50, 50, 20, 20], [52, 50, 20, 20], [120, 50, 20, 20]]
    found = find_faces(cells, 0.5)
    assert len(found) == 2
    np.testing.assert_allclose(found[:, 1], [120, 50])


def test_views_of_one_person_have_one_identity(tmp_path: Path) -> None:
    columns = ["face_crop_cx", "face_crop_cy", "face_crop_w"] + [f"box_{side}" for side in "xywh"]
    columns += [f"lm{k}_{axis}" for k in range(POINTS) for axis in "xy"]
    header = {"count": 8, "seed": 40, "views_each": 4, "faces": [8, 160, 160], "columns": columns}
    (tmp_path / "truth.json").write_text(json.dumps(header))
    np.ones((8, len(columns)), "<f4").tofile(tmp_path / "truth.f32")
    np.zeros((8, 160, 160), np.uint8).tofile(tmp_path / "faces.u8")
    identities = [picture.identity for picture in read_rendered(tmp_path)]
    assert [identities.index(one) for one in identities] == [0, 0, 0, 0, 4, 4, 4, 4]


def test_renders_that_a_config_names_must_be_there(tmp_path: Path) -> None:
    config = {"train": {"renders": str(tmp_path / "nowhere")}}
    assert read_rendered(rendered_folder(config, smoke=True)) == []
    with pytest.raises(FileNotFoundError, match="make them first"):
        read_rendered(rendered_folder(config, smoke=False))


def test_a_batch_is_moved_as_a_whole() -> None:
    tensor = torch.zeros(2)
    found = moved({"a": tensor, "b": [tensor, (tensor,)]}, torch.device("meta"))
    assert {found["a"].device.type, found["b"][0].device.type, found["b"][1][0].device.type} == {"meta"}
