"""What a run shows its network: in the stated shares, with the stated truth, and always the same for an index."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import ScalpScopeError
from device_app.images import write_png_atomically
from device_app.manifest_parts import Task
from device_app.vision.conditions import Quality
from tests.support.tiny_classifier import CONFIG, HEIGHT, WIDTH
from training.classification.augment import Augmentation
from training.classification.dataset import Batch, ClassifierSamples, Sample, collate, truth_of
from training.classification.losses import UNKNOWN
from training.classification.network import ClassifierConfig
from training.classification.picture_store import PictureStore, draw_regions
from training.classification.recipe import DataSection
from training.data.backgrounds import BackgroundPool
from training.data.example_set import Example, ExampleSet, Region

N = None
CORNER = np.array([(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)], np.float32)


def _example(folder: Path, name: str, regions: tuple[Region, ...] | None = None) -> Example:
    path = folder / f"{name}.png"
    if not path.exists():
        shade = np.random.default_rng(len(name)).integers(0, 256, (48, 96, 3)).astype(np.uint8)
        write_png_atomically(path, shade)
    presence = (1, 0, N) if regions else (0, 1, N)
    return Example(path, name, presence=presence, severity=(2, 0, N), regions=regions)


def _set(*examples: Example) -> ExampleSet:
    return ExampleSet(Task.CONDITIONS, "set", examples)


def _samples(
    examples: ExampleSet | None, config: ClassifierConfig = CONFIG, memory_mb: int = 16, seed: int = 1, **data: object
) -> ClassifierSamples:
    store = PictureStore(examples.examples, (WIDTH, HEIGHT), memory_mb) if examples else None
    section = DataSection(**data)  # type: ignore[arg-type]
    return ClassifierSamples(section, config, examples, store, BackgroundPool(), seed, with_regions=True)


def _one(samples: ClassifierSamples, index: int) -> Sample:
    sample = samples[index]
    assert isinstance(sample, Sample)
    return sample


def _kind(sample: Sample) -> str:
    if sample.truth.quality != Quality.GRADABLE:
        return Quality(sample.truth.quality).name
    return "real" if sample.truth.presence[2] == UNKNOWN else "drawn"


def test_shares_are_kept_and_every_kind_has_its_truth(tmp_path: Path) -> None:
    examples = _set(_example(tmp_path, "a"), _example(tmp_path, "bb", (Region(0, CORNER),)))
    samples = _samples(examples, synthetic_share=0.3, ungradable_share=0.2)
    shown = [_one(samples, index) for index in range(200)]
    counts = Counter(map(_kind, shown))
    for kind, share in {"real": 0.5, "drawn": 0.3, "OUT_OF_FOCUS": 0.1, "NO_SCALP": 0.1}.items():
        assert counts[kind] / 200 == pytest.approx(share, abs=0.09)
    for sample in shown:
        assert sample.picture.shape == (3, HEIGHT, WIDTH)
        kind, truth = _kind(sample), sample.truth
        if kind == "drawn":
            assert sample.regions is not None
            assert truth.presence == tuple(int(grade > 0) for grade in truth.severity)
        elif kind == "real":
            assert truth.severity in ((2, 0, -1), (-1, -1, -1))  # outlined pictures have weak severities only
        else:
            assert truth.presence == truth.severity == (UNKNOWN,) * 3 and sample.regions is None


def test_a_sample_follows_from_seed_and_index_whether_pictures_are_kept_or_read(tmp_path: Path) -> None:
    examples = _set(_example(tmp_path, "a"), _example(tmp_path, "bb", (Region(0, CORNER),)))
    shares = {"synthetic_share": 0.3, "ungradable_share": 0.3}
    kept, read, other = (
        _samples(examples, memory_mb=memory, seed=seed, **shares) for memory, seed in ((16, 1), (0, 1), (16, 2))
    )
    pictures = [_one(kept, index).picture for index in range(30)]
    for index in reversed(range(30)):
        assert torch.equal(_one(read, index).picture, pictures[index])
        assert _one(read, index).truth == _one(kept, index).truth
    assert not any(torch.equal(_one(other, index).picture, pictures[index]) for index in range(30))


def test_without_a_set_all_that_is_gradable_is_drawn_and_no_two_alike() -> None:
    samples = _samples(None, ungradable_share=0.25)
    shown = [_one(samples, index) for index in range(60)]
    assert set(map(_kind, shown)) == {"drawn", "OUT_OF_FOCUS", "NO_SCALP"}
    assert len({sample.picture.numpy().tobytes() for sample in shown}) == 60


@pytest.mark.parametrize("hsv", [False, True])
def test_planes_are_as_the_network_takes_them(hsv: bool) -> None:
    config = ClassifierConfig(Task.CONDITIONS, CONFIG.backbone, HEIGHT, WIDTH, hsv, mask=True)
    samples = _samples(None, config, ungradable_share=0.3)
    for index in range(12):
        sample = _one(samples, index)
        assert sample.picture.shape[0] == config.planes
        assert set(torch.unique(sample.picture[-1]).tolist()) <= {-1.0, 1.0}
        if sample.truth.quality == Quality.NO_SCALP:
            assert (sample.picture[-1] == -1).all()


def test_outlines_are_drawn_where_they_are_and_a_condition_that_left_the_picture_is_gone(tmp_path: Path) -> None:
    drawn = draw_regions((Region(1, CORNER), Region(1, 1 - CORNER)), (40, 20))
    assert not drawn[0].any() and not drawn[2].any()
    assert drawn[1, :5, :10].all() and drawn[1, 15:, 30:].all() and drawn[1].mean() / 255 == pytest.approx(0.125, 0.2)

    speck = (Region(0, 0.2 * CORNER),)  # in the very corner
    samples = _samples(_set(_example(tmp_path, "bb", speck)), weak_severity=True)
    seen = set()
    for index in range(60):
        sample = _one(samples, index)
        assert sample.regions is not None
        there = bool(sample.regions[0].any())
        assert sample.truth.presence == (int(there), 0, -1)
        assert sample.truth.severity == (2 if there else 0, 0, -1)
        seen.add(there)
    assert seen == {True, False}


def test_weak_severities_count_only_if_they_are_asked_for(tmp_path: Path) -> None:
    outlined, graded = _example(tmp_path, "bb", ()), _example(tmp_path, "a")
    assert truth_of(outlined, weak_severity=False).severity == (-1, -1, -1)
    assert truth_of(outlined, weak_severity=True).severity == (2, 0, -1)
    assert truth_of(graded, weak_severity=False).severity == (2, 0, -1)


def test_a_batch_knows_where_conditions_are_only_if_somebody_said_so(tmp_path: Path) -> None:
    examples = _set(_example(tmp_path, "a"), _example(tmp_path, "bb", (Region(0, CORNER),)))
    samples = _samples(examples, augmentation=Augmentation.NONE, sampling="uniform")
    batch = collate([samples[index] for index in range(8)])
    assert isinstance(batch, Batch)
    outlined = batch.labels.presence[:, 0] == 1
    assert outlined.sum() == 4
    expected = torch.stack([outlined, outlined, torch.zeros(8, dtype=torch.bool)], dim=1)  # erythema: nobody knows
    assert torch.equal(batch.labels.located, expected)
    assert batch.labels.regions is not None and not batch.labels.regions[~outlined].any()
    plain = collate([_samples(_set(_example(tmp_path, "a")))[0]])
    assert isinstance(plain, Batch) and plain.labels.regions is None and not plain.labels.located.any()


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    examples = _set(_example(tmp_path, "a"), _example(tmp_path, "bb"))
    samples = _samples(examples, memory_mb=0)
    examples.examples[1].path.write_bytes(b"no picture")
    found = collate([samples[index] for index in range(16)])
    assert isinstance(found, ScalpScopeError) and "bb.png" in str(found)
    with pytest.raises(ScalpScopeError, match=r"bb\.png"):
        PictureStore(examples.examples, (WIDTH, HEIGHT), memory_mb=16)
