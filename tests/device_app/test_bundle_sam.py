"""Bundles with SAM: what their manifests and goldens may say, and that everything else is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bundle import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Manifest,
    Task,
    TensorSpec,
    default_bundle_path,
    load_bundle,
    sha256_of,
)
from device_app.engines.engine import Precision
from tests.support.broken_bundles import ANY_JSON, check_that_damage_is_refused, edit, refusal
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_sam import make_sam_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 64, 48)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture(scope="module")
def original_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("bundle") / "sam", 64, 48, mask_prompt=True)


@pytest.fixture
def sam(original_sam: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original_sam, tmp_path / "sam"))


def goldens_of(folder: Path, task: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{task}_goldens.npz") as arrays:
        return dict(arrays)


def replace_sam_goldens(folder: Path, place: int, **arrays: np.ndarray) -> None:
    path = folder / ("hair", "sam_encoder", "sam_decoder")[place]
    path = path.with_name(f"{path.name}_goldens.npz")
    np.savez_compressed(path, **arrays)
    edit(folder, lambda m: m["models"][place]["goldens"].update(sha256=sha256_of(path)))


def test_the_bundle_that_ships_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    bundle = load_bundle(default_bundle_path())
    assert bundle.has(Task.HAIR) and bundle.model(Task.HAIR).input_size == (640, 480)


def test_a_bundle_of_schema_1_still_loads(folder: Path) -> None:
    edit(folder, lambda m: m.update(schema_version=1))
    bundle = load_bundle(folder)
    assert bundle.tasks == (Task.HAIR,) and not bundle.has(Task.SAM_ENCODER)
    with pytest.raises(ScalpScopeError, match="no network for the task 'sam_decoder'"):
        bundle.model(Task.SAM_DECODER)


def test_a_bundle_of_schema_2_still_loads(sam: Path) -> None:
    edit(sam, lambda m: m.update(schema_version=2))
    assert load_bundle(sam).tasks == (Task.HAIR, Task.SAM_ENCODER, Task.SAM_DECODER)


def test_the_hair_entry_says_what_it_always_said(folder: Path) -> None:
    entry = json.loads((folder / MANIFEST_NAME).read_text())["models"][0]
    assert set(entry) == {
        *("task", "input_name", "input_shape", "output_name", "output_shape", "dtype", "colour_order", "resize"),
        *("mean", "std", "labels", "threshold", "files", "goldens", "trained_on", "licence", "credit", "quality"),
        "demonstration_only",
    }


def test_a_bundle_with_sam_loads(original_sam: Path) -> None:
    bundle = load_bundle(original_sam)
    assert bundle.manifest.schema_version == SCHEMA_VERSION
    assert bundle.tasks == (Task.HAIR, Task.SAM_ENCODER, Task.SAM_DECODER)
    encoder, decoder = bundle.model(Task.SAM_ENCODER), bundle.model(Task.SAM_DECODER)
    assert encoder.outputs == encoder.features == decoder.features
    assert [spec.name for spec in decoder.inputs] == [
        *("image_embeddings", "fine_features", "point_coords", "point_labels", "mask_input", "has_mask_input")
    ]
    assert decoder.inputs[2].shape == (1, "points", 2) and decoder.inputs[4].shape == (1, 1, 12, 16)
    assert [spec.shape for spec in decoder.outputs] == [(1, 4, 24, 32), (1, 4)]
    assert list(decoder.files) == [Precision.FP16] and decoder.mask_prompt
    assert Manifest.model_validate_json(bundle.manifest.model_dump_json()) == bundle.manifest


def test_a_tensors_shape_fits_or_not() -> None:
    spec = TensorSpec(name="point_coords", shape=(1, "points", 2))
    assert spec.fits((1, 1, 2)) and spec.fits((1, 5000, 2))
    assert not spec.fits((1, 5)) and not spec.fits((2, 5, 2)) and not spec.fits((1, 5, 2, 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(schema_version=1), "schema_version 1"),
        (lambda m: m["models"].pop(1), "one of them is missing"),
        (lambda m: m["models"].pop(2), "one of them is missing"),
        (lambda m: m["models"].append(m["models"][0]), "two models"),
        (lambda m: m["models"][2]["features"].pop(), "the decoder takes"),
        (lambda m: m["models"][2]["features"][1].update(name="fine"), "the decoder takes"),
        (lambda m: m["models"][2]["features"][1].update(shape=[1, 2, 24, 32]), "the decoder takes"),
        (lambda m: m["models"][2]["features"].reverse(), "the decoder takes"),
        (lambda m: m["models"][1]["features"][0].update(shape=[1, 2, 3]), "(1, channels, height, width)"),
        (lambda m: m["models"][1]["features"][0].update(shape=[1, "points", 3, 4]), "(1, channels, height, width)"),
        (lambda m: m["models"][1]["features"][0].update(shape=[1, "tokens", 3, 4]), "models.1.features.0.shape"),
        (lambda m: m["models"][1]["features"][1].update(name="image_embeddings"), "of one name"),
        (lambda m: m["models"][2]["features"][1].update(name="mask_input"), "of one name"),
        (lambda m: m["models"][2].update(masks_shape=[1, 3, 24, 32]), "models.2.masks_shape"),
        (lambda m: m["models"][2].update(combination="union"), "models.2.combination"),
        (lambda m: m["models"][2].update(max_points=0), "models.2.max_points"),
        (lambda m: m["models"][2].update(mean=[0, 0, 0]), "models.2.mean"),
        (lambda m: m["models"][2]["goldens"]["tolerance"]["fp16"].pop("max_iou_diff"), "max_iou_diff"),
        (lambda m: m["models"][1]["goldens"]["tolerance"]["fp32"].update(max_iou_diff=1), "max_iou_diff"),
        (lambda m: m["models"][2]["goldens"].update(tolerance={}), "no golden tolerance for fp16"),
        (lambda m: m["models"][0].update(resize="fit"), "resize"),
    ],
)
def test_a_wrong_manifest_of_sam(sam: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(sam, change)
    assert said in refusal(sam)


@pytest.mark.parametrize(
    ("place", "name", "wrong"),
    [
        (1, "images", lambda a: a.astype(np.float32)),
        (1, "images", lambda a: a[:1]),
        (1, "image_embeddings", lambda a: a[:, :-1]),
        (1, "image_embeddings", lambda a: a.astype(np.float32)),
        (1, "fine_features", lambda a: np.full_like(a, np.nan)),
        (1, "fine_features_step", lambda a: np.array(0)),
        (1, "fine_features_step", lambda a: np.array([1, 2])),
        (2, "0.fine_features", lambda a: a[..., :-1]),
        (2, "0.fine_features", lambda a: a.astype(np.float32)),
        (2, "0.fine_features_step", lambda a: np.array(np.nan)),
        (2, "0.point_coords", lambda a: a[:, :-1]),
        (2, "0.probabilities", lambda a: a[:3]),
        (2, "0.probabilities", lambda a: a.astype(np.float16)),
        (2, "0.iou_predictions", lambda a: a[:3]),
        (2, "0.iou_predictions", lambda a: np.full_like(a, np.inf)),
        (2, "0.mask_input", None),
        (1, "image_embeddings_step", None),
        (2, "1.mask_input", lambda a: a),
    ],
)
def test_goldens_of_sam_that_do_not_fit(
    sam: Path, place: int, name: str, wrong: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    arrays = goldens_of(sam, ("hair", "sam_encoder", "sam_decoder")[place])
    replace_sam_goldens(sam, place, **arrays)
    load_bundle(sam)  # as they were
    if wrong is None:
        del arrays[name]
    else:
        arrays[name] = wrong(arrays.get(name, np.zeros((1, 1, 12, 16), np.int8)))
    replace_sam_goldens(sam, place, **arrays)
    assert "goldens" in refusal(sam)


def test_goldens_that_are_empty(sam: Path) -> None:
    replace_sam_goldens(sam, 2)
    assert "empty" in refusal(sam)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), replacement=ANY_JSON)
def test_no_damage_to_a_manifest_of_sam_is_anything_but_a_refusal(
    sam: Path, data: st.DataObject, replacement: object
) -> None:
    check_that_damage_is_refused(sam, data, replacement)
