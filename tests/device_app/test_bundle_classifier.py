"""Bundles with classifiers: what their manifests and goldens may say, and that everything else is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bundle import SCHEMA_VERSION, ClassEntry, ConditionsEntry, Task, load_bundle, sha256_of
from tests.support.broken_bundles import ANY_JSON, check_that_damage_is_refused, edit, refusal
from tests.support.colour_classifier import GRID, SIDE, add_classes, make_classifier_bundle

HAIR, CONDITIONS, STAGE = 0, 1, 2


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_classifier_bundle(tmp_path_factory.mktemp("bundle") / "graded", 64, 48, overview=True, mask=True)
    return add_classes(folder, Task.SCALP_CONDITION, ("healthy", "alopecia", "psoriasis"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_a_bundle_with_classifiers_loads(original: Path) -> None:
    bundle = load_bundle(original)
    assert bundle.manifest.schema_version == SCHEMA_VERSION == 3
    assert bundle.tasks == (Task.HAIR, Task.CONDITIONS, Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE)
    conditions, stage = bundle.model(Task.CONDITIONS), bundle.model(Task.HAIR_LOSS_STAGE)
    assert isinstance(conditions, ConditionsEntry) and isinstance(stage, ClassEntry)
    assert conditions.inputs[0].shape == (1, 4, SIDE, SIDE) and conditions.maps == 3
    assert {spec.name: spec.shape for spec in conditions.outputs} == {
        "presence": (1, 3),
        "severity": (1, 3, 4),
        "quality": (1, 3),
        "distance": (1, 1),
        "heat_map": (1, 3, GRID, GRID),
    }
    assert {spec.name: spec.shape for spec in stage.outputs} == {
        "classes": (1, 5),
        "quality": (1, 3),
        "distance": (1, 1),
        "heat_map": (1, 5, GRID, GRID),
    }
    assert stage.labels == ("0", "1", "2", "3", "4") and stage.ordered
    assert bundle.model(Task.SCALP_CONDITION).labels == ("healthy", "alopecia", "psoriasis")


@pytest.mark.parametrize("version", [1, 2])
def test_older_schemas_have_no_classifiers(folder: Path, version: int) -> None:
    edit(folder, lambda m: m.update(schema_version=version))
    said = refusal(folder)
    assert f"schema_version {version}" in said or "came with schema_version 3" in said
    edit(folder, lambda m: m.update(models=m["models"][:1]))
    assert load_bundle(folder).tasks == (Task.HAIR,)


def _in(place: int, **changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda m: m["models"][place].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_in(CONDITIONS, mask=False), "make 3 planes"),
        (_in(CONDITIONS, hsv=True), "make 7 planes"),
        (_in(CONDITIONS, mean=[0.5, 0.5, 0.5]), "make 4 planes"),
        (_in(CONDITIONS, std=[0.5, 0.5, 0.5]), "make 4 planes"),
        (_in(CONDITIONS, input_shape=[1, 3, SIDE, SIDE]), "make 4 planes"),
        (_in(CONDITIONS, input_shape=[1, 8, SIDE, SIDE]), "input_shape"),
        (_in(CONDITIONS, input_shape=[2, 4, SIDE, SIDE]), "input_shape"),
        (_in(CONDITIONS, std=[0.5, 0.5, 0.5, 0]), "std"),
        (_in(CONDITIONS, map_size=[0, 4]), "map_size"),
        (_in(CONDITIONS, map_size=[4, 4, 4]), "map_size"),
        (_in(CONDITIONS, claimed=[True, True]), "claimed"),
        (_in(CONDITIONS, labels=["a", "b"]), "labels"),
        (_in(CONDITIONS, colour="blue"), "colour"),
        (lambda m: m["models"][CONDITIONS].pop("calibration"), "calibration"),
        (lambda m: m["models"][CONDITIONS].pop("limits"), "limits"),
        (lambda m: m["models"][CONDITIONS]["calibration"].update(presence_temperature=[1, 0, 1]), "temperature"),
        (lambda m: m["models"][CONDITIONS]["calibration"].update(presence_bias=[1]), "presence_bias"),
        (lambda m: m["models"][CONDITIONS]["limits"].update(rule=""), "rule"),
        (lambda m: m["models"][CONDITIONS]["limits"].update(most_no_scalp=1.5), "most_no_scalp"),
        (lambda m: m["models"][CONDITIONS]["limits"].update(farthest=0), "farthest"),
        (lambda m: m["models"][CONDITIONS]["limits"].update(darkest=200, brightest=100), "brighter than 200"),
        (lambda m: m["models"][CONDITIONS]["goldens"]["tolerance"].pop("fp32"), "tolerance"),
        (lambda m: m["models"][CONDITIONS]["goldens"]["tolerance"]["fp32"].pop("max_mean_map_diff"), "max_mean_map"),
        (_in(STAGE, labels=["0", "1", "2", "3"]), "stages of hair loss are 0, 1, 2, 3, 4"),
        (_in(STAGE, labels=["1", "2", "3", "4", "5"]), "stages of hair loss"),
        (_in(STAGE, labels=["4", "3", "2", "1", "0"]), "stages of hair loss"),
        (_in(STAGE, ordered=False), "ordered"),
        (
            _in(STAGE, mask=True, input_shape=[1, 4, SIDE, SIDE], mean=[0.5] * 4, std=[0.5] * 4),
            "which has no hair mask",
        ),
        (_in(STAGE, temperature=0), "temperature"),
        (_in(STAGE + 1, labels=["healthy"]), "labels"),
        (_in(STAGE + 1, labels=["a", "a", "b"]), "two classes of one name"),
        (_in(STAGE + 1, labels=["", "a", "b"]), "labels"),
        (lambda m: m["models"].append(m["models"][STAGE]), "two models"),
    ],
)
def test_a_wrong_manifest_is_refused_in_clear_words(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(folder, change)
    assert said in refusal(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), replacement=ANY_JSON)
def test_any_damage_to_the_manifest_is_refused_or_harmless(folder: Path, data: st.DataObject, replacement: Any) -> None:
    check_that_damage_is_refused(folder, data, replacement)


def goldens_of(folder: Path, task: str = "conditions") -> dict[str, np.ndarray]:
    with np.load(folder / f"{task}_goldens.npz") as arrays:
        return dict(arrays)


def replace_goldens(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    path = folder / "conditions_goldens.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    edit(folder, lambda m: m["models"][CONDITIONS]["goldens"].update(sha256=sha256_of(path)))


def test_what_is_in_the_goldens(original: Path) -> None:
    arrays = goldens_of(original)
    assert set(arrays) == {"images", "hair_masks", "presence", "severity", "quality", "distance", "heat_map"}
    assert arrays["images"].shape == (3, SIDE, SIDE, 3) and arrays["hair_masks"].shape == (3, SIDE, SIDE)
    assert arrays["severity"].shape == (3, 3, 4) and arrays["severity"].dtype == np.float32
    assert "hair_masks" not in goldens_of(original, "hair_loss_stage")


@pytest.mark.parametrize("missing", ["images", "hair_masks", "presence", "severity", "quality", "distance", "heat_map"])
def test_goldens_that_lack_something(folder: Path, missing: str) -> None:
    replace_goldens(folder, {name: array for name, array in goldens_of(folder).items() if name != missing})
    assert missing in refusal(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images", lambda a: a[..., 0]),
        ("images", lambda a: a.astype(np.float32)),
        ("images", lambda a: a[:0]),
        ("images", lambda a: a[:2]),
        ("hair_masks", lambda a: a[:, :-1]),
        ("hair_masks", lambda a: a.astype(bool)),
        ("presence", lambda a: a[:2]),
        ("presence", lambda a: a[:, :2]),
        ("presence", lambda a: a.astype(np.float64)),
        ("presence", lambda a: a[None]),
        ("severity", lambda a: a.reshape(3, 12)),
        ("quality", lambda a: a[:, :2]),
        ("distance", lambda a: a[:, 0]),
        ("heat_map", lambda a: a[..., :-1]),
        ("heat_map", lambda a: a * np.nan),
        ("distance", lambda a: a + np.inf),
    ],
)
def test_goldens_of_the_wrong_shape_or_value(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    arrays = goldens_of(folder)
    replace_goldens(folder, arrays | {name: change(arrays[name])})
    assert "goldens" in refusal(folder)


def test_goldens_that_are_no_npz(folder: Path) -> None:
    (folder / "conditions_goldens.npz").write_bytes(b"nothing")
    edit(
        folder,
        lambda m: m["models"][CONDITIONS]["goldens"].update(sha256=sha256_of(folder / "conditions_goldens.npz")),
    )
    assert "cannot be read" in refusal(folder)


def test_a_task_that_is_not_there_is_said(tmp_path: Path) -> None:
    bundle = load_bundle(make_classifier_bundle(tmp_path / "b", 64, 48))
    with pytest.raises(ScalpScopeError, match="no network for the task 'hair_loss_stage'"):
        bundle.model(Task.HAIR_LOSS_STAGE)
