"""The demo scalp: the same pictures every time, and a truth that holds in each of them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from device_app.camera.demo import DemoScalp
from device_app.camera.source import SourceLost


@pytest.fixture(scope="module")
def demo() -> DemoScalp:
    return DemoScalp(width=320, height=240, fps=200.0)


def test_reads_are_the_pictures_of_their_numbers_and_count_on_when_it_is_opened_again(demo):
    demo.open()
    first = [demo.read() for _ in range(3)]
    demo.close()
    demo.open()
    fourth = demo.read()
    demo.close()
    for number, picture in enumerate([*first, fourth]):
        np.testing.assert_array_equal(picture, demo.picture_at(number))
    assert first[0].shape == (240, 320, 3) and first[0].dtype == np.uint8
    first[0][...] = 0  # the caller owns it
    assert demo.picture_at(0).any()


def test_a_read_tells_what_it_took_without_the_wait_until_the_picture_was_due():
    source = DemoScalp(width=64, height=48, fps=4.0)
    source.open()
    assert source.read_times is None
    source.read()
    asked_ns = time.monotonic_ns()
    source.read()
    there_ns = time.monotonic_ns()
    source.close()
    times = source.read_times
    assert asked_ns + 50_000_000 < times.began_ns < there_ns  # a quarter of a second after the one before
    assert times.until(there_ns) == {"capture": (there_ns - times.began_ns) / 1e6}  # it comes as RGB


def test_two_sources_of_one_seed_give_one_picture():
    small = {"width": 64, "height": 48, "seed": 3}
    np.testing.assert_array_equal(DemoScalp(**small).picture_at(40), DemoScalp(**small).picture_at(40))


@pytest.mark.parametrize("index", [0, 1234, 7000])
def test_hairs_lie_where_the_truth_says(demo, index):
    picture, truth = demo.picture_at(index), demo.truth_at(index)
    assert truth.hairs
    luminance = picture.mean(axis=2)
    assert luminance[truth.mask == 255].mean() < luminance[truth.mask == 0].mean() - 40
    on_hair = total = 0
    for hair in truth.hairs:
        columns, rows = np.round(hair.centre_line).astype(int).T
        inside = (columns >= 0) & (columns < 320) & (rows >= 0) & (rows < 240)
        on_hair += np.count_nonzero(truth.mask[rows[inside], columns[inside]])
        total += np.count_nonzero(inside)
    assert on_hair > 0.97 * total


def test_the_view_never_leaves_the_scalp(demo):
    # Outside of the scalp warping paints pure black, which neither skin nor hair is at the border of the picture.
    for index in range(0, 200 * 140, 997):
        border = np.concatenate([demo.picture_at(index)[edge] for edge in (0, -1)])
        assert border.sum(axis=1).min() > 0


def test_it_moves_by_fractions_of_a_pixel(demo):
    # Neighbouring pictures differ, but by less than a shift of one whole pixel would make.
    one, two = (demo.picture_at(index).astype(int) for index in (500, 501))
    step = np.abs(one - two).mean()
    assert 0 < step < np.abs(one[:, 1:] - one[:, :-1]).mean()


def test_breathing_blurs_and_comes_back():
    demo = DemoScalp(width=160, height=120, fps=30.0, breathing_px=3.0)
    sharpness = [np.abs(np.diff(demo.picture_at(index).astype(int), axis=1)).mean() for index in (0, 75, 150)]
    assert sharpness[1] < 0.7 * min(sharpness[0], sharpness[2])


def test_closing_wakes_a_waiting_reader():
    slow = DemoScalp(width=64, height=48, fps=0.01)
    slow.open()
    slow.read()
    raised: list[BaseException] = []

    def read() -> None:
        try:
            slow.read()
        except SourceLost as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    slow.close()
    reader.join(60)
    assert raised
