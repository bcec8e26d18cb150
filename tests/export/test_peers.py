"""The peers of the bench: they run what they say they run, and their measuring is honest work."""

from __future__ import annotations

from pathlib import Path
from random import Random

import cv2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bench.latency.peers import EAGER, EAGER_GRADED, ONNXRUNTIME_FP32
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.engines.golden_files import HairGoldens, read_goldens
from device_app.vision.preprocess import to_network_input
from export.onnx import HairProbability, export_onnx, smooth_pictures, to_fp16
from export.peers_naive import _in_order, clean_naively, measure_naively
from export.peers_networks import network_of_file, paper_network
from export.peers_ways import Given, RembgWay, open_way, why_missing
from tests.support.tiny_bundle import make_darkness_network
from training.segmentation.checkpoint import save_network
from training.segmentation.u2net import U2Net, U2NetConfig

WIDTH, HEIGHT = 128, 96


def tiny(fold: int) -> U2Net:
    torch.manual_seed(fold)
    network = U2Net(U2NetConfig(((8, 12),) * 6, ((10, 8),) * 5, fold))
    with torch.no_grad():  # batch normalisation that does something
        network.train()(torch.randn(2, 3, HEIGHT, WIDTH))
    return network.eval()


def answer(network: U2Net, picture: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return HairProbability(network)(torch.from_numpy(picture)).numpy()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path())


@pytest.fixture(scope="module")
def goldens(bundle: Bundle) -> HairGoldens:
    """A few pictures, and what FP32 made of them."""
    found = read_goldens(bundle.path, bundle.model(Task.HAIR))
    assert isinstance(found, HairGoldens)
    return found


@pytest.fixture(scope="module")
def frames(goldens: HairGoldens) -> list[np.ndarray]:
    return [np.ascontiguousarray(goldens.images[0])]


@pytest.fixture
def given_(bundle: Bundle, frames: list[np.ndarray], tmp_path: Path) -> Given:
    masks = [image.mean(2) < 90 for image in frames]
    return Given(bundle, frames, masks, 1, True, None, tmp_path)


@pytest.mark.parametrize("fold", [1, 2])
def test_a_network_comes_back_from_its_file_as_it_went_in(fold: int, tmp_path: Path) -> None:
    network = tiny(fold)
    model, _ = export_onnx(network, WIDTH, HEIGHT)
    (picture,) = smooth_pictures(1, WIDTH, HEIGHT)
    wanted = answer(network, picture)
    for name, file, most in (("fp32", model, 1e-4), ("fp16", to_fp16(model), 2e-2)):
        onnx.save(file, str(tmp_path / name))
        back = network_of_file(tmp_path / name)
        assert back.config == network.config and not back.training
        assert np.abs(answer(back, picture) - wanted).max() < most, name


def test_the_bundles_int8_network_comes_back(bundle: Bundle, goldens: HairGoldens) -> None:
    entry = bundle.model(Task.HAIR)
    wanted = goldens.outputs[0]
    for file in entry.files.values():
        found = answer(network_of_file(bundle.file(file)), to_network_input(goldens.images[0], entry))[0]
        assert np.abs(found - wanted).mean() < 0.005
        assert wanted.mean() > 0.01  # not two empty masks


def test_another_network_is_told_from_ours(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="--checkpoint"):
        network_of_file(make_darkness_network(tmp_path / "dark.onnx"))


def test_the_papers_network_has_no_value_that_makes_a_processor_slow() -> None:
    slow = seen = 0

    def look(_module: object, _inputs: object, output: torch.Tensor) -> None:
        nonlocal slow, seen
        size = output.abs()
        slow += int(((size > 0) & (size < torch.finfo(torch.float32).tiny)).sum())
        seen += size.numel()

    network = paper_network()
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
            module.register_forward_hook(look)
    with torch.inference_mode():
        network(torch.from_numpy(smooth_pictures(1, 96, 96)[0]))
    assert sum(value.numel() for value in network.parameters()) == 44_009_869  # as the public u2net.pth
    assert seen > 1_000_000 and slow == 0


@pytest.mark.parametrize("name", [EAGER, ONNXRUNTIME_FP32])
def test_the_bundles_network_runs_elsewhere_and_finds_the_same(
    name: str, given_: Given, bundle: Bundle, goldens: HairGoldens, frames: list[np.ndarray]
) -> None:
    entry = bundle.model(Task.HAIR)
    probability = cv2.resize(goldens.outputs[0, 0], frames[0].shape[1::-1])
    same = Given(bundle, frames, [probability >= entry.threshold], 1, True, None, given_.folder)
    way = open_way(name, same)
    dice = float(way.what.rpartition(" ")[2])
    assert dice > 0.98
    network_ms, whole_ms = way.run(0)
    assert 0 < network_ms < whole_ms


def test_grading_comes_on_top(given_: Given) -> None:
    way = open_way(EAGER_GRADED, given_)
    network_ms, whole_ms = way.run(0)
    assert 0 < network_ms < whole_ms
    assert "grade" in way.what and "seed" in way.what


def test_a_checkpoint_is_what_runs(given_: Given, tmp_path: Path) -> None:
    network = tiny(1)
    save_network(network, tmp_path / "weights.pt", {}, 1)
    own = Given(given_.bundle, given_.frames, given_.masks, 1, False, tmp_path / "weights.pt", tmp_path)
    assert own.network.config == network.config
    assert "weights of weights.pt" in open_way(EAGER, own).what


def test_a_checkpoint_that_is_none_is_told(given_: Given, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not weights")
    broken = Given(given_.bundle, given_.frames, given_.masks, 1, False, tmp_path / "weights.pt", tmp_path)
    with pytest.raises(ScalpScopeError) as caught:
        open_way(EAGER, broken)
    assert "weights.pt" in why_missing(caught.value)


def test_rembg_runs_our_file_its_own_way_and_fetches_nothing(given_: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rembg")
    monkeypatch.setenv("U2NET_HOME", "/nowhere")  # put back what the peer sets
    way = RembgWay(given_, tiny(1))
    network_ms, whole_ms = way.run(0)
    assert 0 < network_ms < whole_ms
    assert "320 x 320" in way.what and not list((given_.folder / "rembg").rglob("*.onnx"))


# --- the naive measuring ---


BARE = np.zeros((240, 320, 3), np.uint8)


def boxes(*sides: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((240, 320), bool)
    for rows, columns in sides:
        mask[rows, columns] = True
    return mask


def test_hairs_are_counted_and_measured() -> None:
    mask = boxes(
        (slice(20, 200), slice(20, 25)),  # 5 px wide
        (slice(0, 240), slice(60, 69)),  # 9 px, from border to border
        (slice(30, 37), slice(100, 300)),  # 7 px
        (slice(200, 203), slice(200, 203)),  # a speck
    )
    mask[100:102, 64] = False  # a pinhole
    found = measure_naively(BARE, clean_naively(mask), 2.0)
    by_width = sorted(found.hairs, key=lambda hair: hair.diameter_px)
    # Twice the distance to the nearest pixel outside: a pixel more than the width.
    assert [hair.diameter_px for hair in by_width] == pytest.approx([6, 8, 10])
    assert [hair.length_px for hair in by_width] == pytest.approx([180, 200, 240], abs=10)
    assert [hair.ends_inside for hair in by_width] == [True, True, False]
    assert found.density_per_cm2 == pytest.approx(2 / (240 * 320 * 4e-8))
    assert found.mean_diameter_um == pytest.approx(16)
    assert found.diversity_fraction == pytest.approx(2 / 3)


def test_a_crossing_ends_the_hairs_in_it() -> None:
    mask = boxes((slice(118, 123), slice(20, 300)), (slice(20, 220), slice(158, 163)))
    assert len(measure_naively(BARE, mask, 1.0).hairs) == 4


def test_nothing_is_nothing() -> None:
    found = measure_naively(BARE, clean_naively(boxes()), 1.0)
    assert found.hairs == () and found.coverage_fraction == found.density_per_cm2 == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([(0, 1), (1, 1)]), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_line_is_walked_from_end_to_end(steps: list[tuple[int, int]], random: Random) -> None:
    line = np.cumsum([(5, 5), *steps], axis=0).tolist()
    shuffled = list(line)
    random.shuffle(shuffled)
    assert _in_order(np.array(shuffled)).tolist() in (line, line[::-1])
