"""What a network answers is kept as it was, and judged by the device's own rule."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from calibration.errors import ScalpScopeError
from device_app.images import read_image
from device_app.manifest_classifiers import Limits
from device_app.manifest_parts import Task
from device_app.vision.conditions import Quality, refusal_of
from device_app.vision.preprocess import to_classifier_input
from tests.support.made_up_predictions import made_up_predictions
from tests.support.mobile_classifier import (
    HEIGHT,
    WIDTH,
    fitted_unlikeness,
    make_classifier,
    mobile_config,
    stage_picture,
    write_stages,
)
from training.classification.inputs import input_entry
from training.classification.judges import NetworkJudge
from training.classification.pictures import (
    BlurredPictures,
    DrawnPictures,
    ExposedPictures,
    LabelledPictures,
    NotScalpPictures,
    Picture,
    Several,
)
from training.classification.predictions import (
    Predictions,
    load_predictions,
    predict,
    predict_pictures,
    save_predictions,
    together,
)
from training.data.examples import read_examples
from training.data.ungradable import HELD_OUT_FAMILIES

LIMITS = Limits(darkest=60, brightest=200, most_out_of_focus=0.4, most_no_scalp=0.4, farthest=1.0, rule="by hand")


def same(one: Predictions, other: Predictions) -> None:
    for field in fields(Predictions):
        mine, others = getattr(one, field.name), getattr(other, field.name)
        assert mine == others if isinstance(mine, tuple) else np.array_equal(mine, others), field.name
        assert isinstance(mine, tuple) or mine.dtype == others.dtype, field.name


def test_answers_about_files_are_the_networks_own_to_the_devices_input(tmp_path: Path) -> None:
    examples = read_examples(write_stages(tmp_path / "stages", each=2), Task.HAIR_LOSS_STAGE)
    network = make_classifier(mobile_config(Task.HAIR_LOSS_STAGE))
    seen: list[int] = []
    found = predict(network, examples, batch_size=4, advance=seen.append)
    assert seen == [4, 4, 2]
    assert found.names == tuple(one.path.name for one in examples.examples)
    assert found.label.tolist() == [one.label for one in examples.examples]
    assert found.presence.tolist() == [[-1, -1, -1]] * 10 and found.presence_logits.shape == (10, 0)
    entry = input_entry(network.config)
    for place, one in enumerate(examples.examples):
        with torch.no_grad():
            answer = network(torch.from_numpy(to_classifier_input(read_image(one.path), entry)))
        assert found.class_logits[place] == pytest.approx(answer.classes[0].numpy(), abs=1e-4)
        assert found.quality_logits[place] == pytest.approx(answer.quality[0].numpy(), abs=1e-4)
        assert found.features[place] == pytest.approx(answer.features[0].numpy(), abs=1e-4)


def test_the_distance_and_heat_maps_are_those_of_the_graph() -> None:
    network = make_classifier()
    unlikeness = fitted_unlikeness(network)
    picture = Picture("one", "one", stage_picture(2, 0))
    answers = NetworkJudge(network, unlikeness)([picture])
    with torch.no_grad():
        answer = network(torch.from_numpy(to_classifier_input(picture.image, input_entry(network.config))))
        assert answers.distance[0] == pytest.approx(float(unlikeness(answer.features)), rel=1e-4)
        assert answers.heat_maps[0] == pytest.approx(torch.sigmoid(answer.maps)[0].numpy(), abs=1e-5)


def test_a_network_that_takes_a_hair_mask_gets_the_known_one_or_one_that_is_found() -> None:
    network = make_classifier(mobile_config(mask=True))
    image = stage_picture(1, 0)
    bare, hairy = np.zeros(image.shape[:2], np.uint8), np.full(image.shape[:2], 255, np.uint8)
    known = NetworkJudge(network)([Picture("a", "a", image, hair_mask=hairy)])
    found = NetworkJudge(network, hair_masks=lambda _: hairy)([Picture("a", "a", image)])
    other = NetworkJudge(network, hair_masks=lambda _: hairy)([Picture("a", "a", image, hair_mask=bare)])
    assert np.array_equal(known.presence, found.presence)
    assert not np.array_equal(known.presence, other.presence)


def test_refusals_are_the_devices() -> None:
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.integers(0, 256, (90, 130, 3)).astype(np.uint8), (0, 0), 9) for _ in range(3)]
    images += [np.uint8(image * share) for image in images for share in (0.3, 0.6)]
    images += [np.full((50, 70, 3), 230, np.uint8)]
    network = make_classifier()
    judge = NetworkJudge(network, fitted_unlikeness(network))

    class Given:
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, number: int) -> Picture:
            return Picture(f"{number}", f"{number}", images[number])

    found = predict_pictures(judge, Given(), 4)
    for limits in (LIMITS, LIMITS.model_copy(update={"farthest": 1e9}), LIMITS.model_copy(update={"darkest": 0})):
        device = [
            refusal_of(image, quality, float(distance), limits)
            for image, quality, distance in zip(images, found.quality_logits, found.distance)
        ]
        assert found.refusals(limits) == device
    assert found.brightness[-1] == 230.0


def test_they_come_back_from_a_file_as_they_went(tmp_path: Path) -> None:
    one = made_up_predictions(5, attributes=[{"skin_tone": str(number)} for number in range(5)])
    save_predictions(one, tmp_path / "p.npz")
    same(load_predictions(tmp_path / "p.npz"), one)


def test_a_file_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="no file"):
        load_predictions(tmp_path / "p.npz")
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ScalpScopeError, match="holds no predictions"):
        load_predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "q.npz", other=np.zeros(3))
    with pytest.raises(ScalpScopeError, match="holds no predictions"):
        load_predictions(tmp_path / "q.npz")


def test_parts_and_wholes() -> None:
    one, other = made_up_predictions(6, 0), made_up_predictions(4, 1, kind="drawn")
    both = together([one, other])
    same(both.only(np.arange(6)), one)
    same(both.only(np.array([False] * 6 + [True] * 4)), other)
    with pytest.raises(ValueError, match="no predictions"):
        together([])


def test_no_picture_is_an_error() -> None:
    with pytest.raises(ScalpScopeError, match="no picture"):
        predict_pictures(NetworkJudge(make_classifier()), Several(), 4)


class TestSources:
    SIZE = (WIDTH, HEIGHT)

    def test_drawings_know_their_truth_and_come_again_the_same(self) -> None:
        source = DrawnPictures(range(5, 9), self.SIZE)
        assert len(source) == 4
        first, again = source[2], source[2]
        assert np.array_equal(first.image, again.image) and first.image.shape == (HEIGHT, WIDTH, 3)
        assert first.presence == tuple(int(grade is not None and grade > 0) for grade in first.severity)
        assert first.quality is Quality.GRADABLE and first.kind == "drawn"
        assert not np.array_equal(first.image, source[3].image)

    def test_spoilt_pictures_keep_their_group_and_lose_their_labels(self) -> None:
        source = DrawnPictures(range(3), self.SIZE)
        for spoilt in (BlurredPictures(source, 1), ExposedPictures(source, 1)):
            for number in range(len(spoilt)):
                one = spoilt[number]
                assert one.group in {source[place].group for place in range(3)}
                assert one.presence == one.severity == (None, None, None) and one.hair_mask is None
                assert one.quality is not Quality.GRADABLE
                assert np.array_equal(one.image, spoilt[number].image)

    def test_exposed_pictures_are_nearly_black_or_nearly_white(self) -> None:
        exposed = ExposedPictures(DrawnPictures(range(3), self.SIZE), 1)
        levels = [float(exposed[number].image.mean()) for number in range(len(exposed))]
        assert all(level < 15 for level in levels[::2]) and all(level > 240 for level in levels[1::2])
        assert exposed[0].kind == "drawn, too dark" and exposed[1].kind == "drawn, too bright"

    def test_families_come_as_often_each_and_the_held_out_ones_say_so(self) -> None:
        source = NotScalpPictures(2, {"flat", *HELD_OUT_FAMILIES}, self.SIZE, 1)
        kinds = [source[number].kind for number in range(len(source))]
        assert len(kinds) == 2 * (1 + len(HELD_OUT_FAMILIES)) and all(kinds.count(one) == 2 for one in kinds)
        assert sum("never trained on" in one for one in kinds) == 2 * len(HELD_OUT_FAMILIES)

    def test_some_of_a_source(self, tmp_path: Path) -> None:
        examples = read_examples(write_stages(tmp_path / "stages", each=1), Task.HAIR_LOSS_STAGE)
        source = LabelledPictures(examples)
        some = Several(source, source, numbers=[0, 4, 5])
        assert [some[number].name for number in range(3)] == [source[0].name, source[4].name, source[0].name]
