"""Overview photographs: found, made small and judged beside the screen's thread, by a real engine; then forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from device_app.images import write_png_atomically
from device_app.screens.overviewing import MOST_PHOTOGRAPHS, THUMBNAIL_PX, Overview
from tests.support.building_backend import NAME, install_bench_backend, python_path
from tests.support.colour_classifier import add_classes
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.waiting import wait_until

Open = Callable[..., Overview]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def staging_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stages photographs by their brightness: the brighter, the balder."""
    return add_classes(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", 64, 48))


@pytest.fixture
def open_overview(staging_bundle: Path, tmp_path: Path) -> Iterator[Open]:
    """A function that makes an `Overview` and waits until it knows its bundle."""
    opened: list[Overview] = []

    def make(folder: Path = tmp_path, bundle: Path = staging_bundle, possible: bool = True) -> Overview:
        overview = Overview(bundle, None, folder)
        opened.append(overview)
        wait_until(lambda: overview.possible == possible and overview._opening.done(), "the bundle")
        return overview

    yield make
    for overview in opened:
        overview.close()


def _photograph(path: Path, brightness: int, size: tuple[int, int] = (80, 60)) -> Path:
    write_png_atomically(path, np.full((size[1], size[0], 3), brightness, np.uint8))
    return path


def _settled(overview: Overview, done: Callable[[], bool]) -> None:
    wait_until(lambda: overview.poll() is not None and done(), "the other thread")


def test_photographs_come_newest_first_and_what_is_none_goes(open_overview: Open, tmp_path: Path) -> None:
    paths = [_photograph(tmp_path / f"head {number}.png", 60 + 40 * number) for number in range(3)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not a picture either")
    (tmp_path / ".hidden.png").write_bytes(paths[0].read_bytes())
    for age, path in enumerate([*paths, broken]):
        os.utime(path, (1_000_000 + age, 1_000_000 + age))
    overview = open_overview()
    overview.look()
    _settled(overview, lambda: len(overview.thumbnails) == 3 and broken not in (overview.photographs or ()))
    assert overview.photographs == tuple(reversed(paths))
    for number, path in enumerate(paths):
        picture = overview.thumbnails[path]
        assert picture.shape == (THUMBNAIL_PX[1], THUMBNAIL_PX[0], 3)
        assert np.all(picture == 60 + 40 * number)


@pytest.mark.parametrize(("brightness", "stage"), [(30, "0"), (128, "2"), (180, "3"), (230, "4")])
def test_a_photograph_is_judged(open_overview: Open, tmp_path: Path, brightness: int, stage: str) -> None:
    path = _photograph(tmp_path / "head.png", brightness, (2400, 1200))
    overview = open_overview()
    overview.choose(path)
    assert overview.judging_s is not None
    _settled(overview, lambda: overview.judged is not None)
    assert overview.judging_s is None and overview.problem == "" and overview.judged is not None
    judgement, frame = overview.judged.judgement, overview.judged.frame
    assert judgement is not None and judgement.label == stage
    assert frame.image.shape == (960, 1920, 3)  # no larger than a screen
    shown = overview.shown()
    assert shown is not None and shown.looked is None
    overview.map_wanted = True
    shown = overview.shown()
    assert shown is not None and shown.looked is not None and shown.looked.heat is judgement.heat_map


def test_one_that_cannot_be_judged_has_no_stage_and_no_heat_map(open_overview: Open, tmp_path: Path) -> None:
    overview = open_overview()
    overview.choose(_photograph(tmp_path / "dark.png", 5))
    _settled(overview, lambda: overview.judged is not None)
    assert overview.judged is not None and overview.judged.judgement is not None
    assert (overview.judged.judgement.label, overview.judged.judgement.refused) == (None, "too_dark")
    overview.map_wanted = True
    shown = overview.shown()
    assert shown is not None and shown.looked is None


def test_a_file_that_is_gone_or_broken_is_said_and_the_next_one_works(open_overview: Open, tmp_path: Path) -> None:
    overview = open_overview()
    for content in (None, b"no picture"):
        path = tmp_path / "broken.jpg"
        if content is not None:
            path.write_bytes(content)
        overview.choose(path)
        _settled(overview, lambda: overview.judging_s is None)
        assert overview.judged is None
        assert "broken.jpg" in overview.problem
    overview.choose(_photograph(tmp_path / "head.png", 230))
    _settled(overview, lambda: overview.judged is not None)
    assert overview.problem == ""


def test_no_folder_and_an_empty_one_hold_no_photographs(open_overview: Open, tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        overview = open_overview(folder)
        overview.look()
        _settled(overview, lambda overview=overview: overview.photographs is not None)
        assert overview.photographs == ()


def test_of_very_many_only_the_newest_are_offered(open_overview: Open, tmp_path: Path) -> None:
    data = _photograph(tmp_path / "first.png", 100, (16, 16)).read_bytes()
    for number in range(MOST_PHOTOGRAPHS + 5):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        os.utime(path, (2_000_000_000 + number,) * 2)
    overview = open_overview()
    overview.look()
    _settled(overview, lambda: overview.photographs is not None)
    assert overview.photographs is not None and len(overview.photographs) == MOST_PHOTOGRAPHS
    assert overview.photographs[0].name == f"{MOST_PHOTOGRAPHS + 4}.png"


def test_leaving_forgets_everything_even_what_is_still_under_way(open_overview: Open, tmp_path: Path) -> None:
    path = _photograph(tmp_path / "head.png", 230)
    overview = open_overview()
    overview.look()
    overview.choose(path)
    overview.leave()
    overview.look()
    _settled(overview, lambda: path in overview.thumbnails)  # one thread: the judgement came before
    assert overview.judged is None and overview.judging_s is None
    overview.leave()
    assert overview.thumbnails == {} and overview.photographs is None


@pytest.mark.parametrize("bundle", ["without", "missing"])
def test_a_bundle_without_such_a_network_offers_nothing(
    open_overview: Open, tiny_bundle: Path, tmp_path: Path, bundle: str
) -> None:
    path = tiny_bundle if bundle == "without" else tmp_path / "no-bundle"
    overview = open_overview(bundle=path, possible=False)
    assert not overview.possible
    overview.choose(_photograph(tmp_path / "head.png", 230))
    assert overview.judging_s is None


JUDGE = """
import sys
from pathlib import Path
from device_app.engines.select import known_backends
from device_app.screens.overviewing import Overview
from support.waiting import wait_until
overview = Overview(Path(sys.argv[1]), None, Path(sys.argv[2]).parent)
wait_until(lambda: overview.possible, "the bundle")
overview.choose(Path(sys.argv[2]))
wait_until(lambda: overview.poll() or overview.judged is not None, "the judgement")
print(known_backends()[0].name, overview.judged.judgement.backend)
overview.close()
"""


def test_no_accelerator_is_opened_in_the_process_that_draws_the_screen(staging_bundle: Path, tmp_path: Path) -> None:
    """One that fails takes its whole process down."""
    bench = install_bench_backend(tmp_path / "bench")
    bench.says("engine")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), python_path(bench)])
    photograph = _photograph(tmp_path / "head.png", 128)
    command = [sys.executable, "-c", JUDGE, str(staging_bundle), str(photograph)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [NAME, "onnxruntime-cpu", "fp32"]
