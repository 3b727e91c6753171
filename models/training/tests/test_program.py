"""What the evaluation of the whole program counts."""

import numpy as np

from gaze_models.program import match_blinks, nearest_to_places, side_agreement, tremble


def test_blinks_match_by_their_middle_and_doubtful_ones_count_neither_way() -> None:
    sure = [(1_000_000, 1_200_000), (5_000_000, 5_200_000)]
    doubtful = [(8_000_000, 8_500_000)]
    reported = [(1_050_000, 1_300_000), (3_000_000, 3_100_000), (5_150_000, 5_400_000), (8_400_000, 8_600_000)]
    # 75 ms apart; nothing there; 175 ms apart, so one missed and one false; doubtful.
    assert match_blinks(reported, sure, doubtful) == (1, 2)


def test_two_reports_of_one_blink_are_one_found_and_one_false() -> None:
    assert match_blinks([(0, 100_000), (20_000, 120_000)], [(0, 100_000)], []) == (1, 1)


def test_sides_agree_fully_with_themselves_and_never_with_their_opposite() -> None:
    place = np.linspace(-1, 1, 200)
    assert side_agreement(place, place) == (1.0, 40)
    assert side_agreement(-place, place) == (0.0, 40)


def test_each_place_has_its_five_nearest_points() -> None:
    screen = np.array([100.0, 100.0])
    grid = [(x, y) for y in (10, 50, 90) for x in (10, 50, 90)]
    points = np.array([(x + dx, y) for x, y in grid for dx in range(-4, 5)], float)
    chosen = nearest_to_places(points, screen)
    assert len(chosen) == len(set(chosen)) == 45
    assert {abs(int(points[k, 0]) - 10) for k in chosen[:5]} == {0, 1, 2}


def test_tremble_is_the_second_difference_of_still_frames() -> None:
    iris = np.zeros((6, 2, 2))
    iris[3] = 1.0
    still = np.array([False, False, True, False])
    # Frame 3: 0 - 2 + 0 in both axes of both eyes, of an eye distance of 50.
    assert tremble(iris, still, 50.0) == 4.0
