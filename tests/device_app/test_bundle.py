"""Bundles: what is accepted, and that everything else is refused with one sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bundle import MANIFEST_NAME, Manifest, Task, default_bundle_path, load_bundle, sha256_of
from device_app.bundle_store import default_store, install_bundle, installed_bundle_path, roll_back
from tests.support.broken_bundles import ANY_JSON, check_that_damage_is_refused, edit, refusal
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 64, 48)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def replace_goldens(folder: Path, **arrays: np.ndarray) -> None:
    path = folder / "hair_goldens.npz"
    np.savez_compressed(path, **arrays)
    edit(folder, lambda m: m["models"][0]["goldens"].update(sha256=sha256_of(path)))


def test_a_good_bundle_loads(original: Path) -> None:
    bundle = load_bundle(original)
    model = bundle.model(Task.HAIR)
    assert (bundle.name, bundle.version, bundle.demonstration_only) == ("tiny", "1", True)
    assert model.input_size == (64, 48)
    assert model.input_shape == (1, 3, 48, 64) and model.output_shape == (1, 1, 48, 64)
    assert all(bundle.file(entry).is_file() for entry in model.files.values())


def test_no_folder_and_no_manifest(tmp_path: Path) -> None:
    assert "no bundle" in refusal(tmp_path / "nowhere")
    assert MANIFEST_NAME in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '"text"', "[" * 100_000])
def test_a_manifest_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / MANIFEST_NAME).write_text(text)
    assert MANIFEST_NAME in refusal(folder)


def test_a_manifest_that_is_no_text(folder: Path) -> None:
    (folder / MANIFEST_NAME).write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read" in refusal(folder)


def test_a_newer_schema_is_named(folder: Path) -> None:
    edit(folder, lambda m: m.update(schema_version=4, something_new={"a": 1}))
    with pytest.raises(ScalpScopeError, match=r"schema 4.*Update ScalpScope"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(colour="blue"), "colour"),
        (lambda m: m["models"][0].update(colour="blue"), "models.0.colour"),
        (lambda m: m["models"][0]["goldens"].update(note=""), "note"),
        (lambda m: m["models"][0]["files"]["fp32"].update(size=3), "size"),
        (lambda m: m.pop("schema_version"), "schema_version"),
        (lambda m: m.update(schema_version=0), "schema_version"),
        (lambda m: m.update(name="../x"), "name"),
        (lambda m: m.update(models=[]), "models"),
        (lambda m: m["models"].append(m["models"][0]), "two models"),
        (lambda m: m["models"][0].update(resize="crop"), "resize"),
        (lambda m: m["models"][0].update(task="face"), "task"),
        (lambda m: m["models"][0].update(threshold=1.5), "threshold"),
        (lambda m: m["models"][0].update(std=[0.2, 0.2, 0]), "std"),
        (lambda m: m["models"][0].update(mean=[0.2, 0.2]), "mean"),
        (lambda m: m["models"][0].update(input_shape=[1, 3, 48]), "input_shape"),
        (lambda m: m["models"][0].update(output_shape=[1, 1, 24, 32]), "not as large"),
        (lambda m: m["models"][0].update(labels=["hair", "skin"]), "labels"),
        (lambda m: m["models"][0].update(files={}), "files"),
        (lambda m: m["models"][0]["goldens"].update(tolerance={}), "tolerance"),
        (lambda m: m["models"][0]["files"]["fp32"].update(sha256="abc"), "sha256"),
    ],
)
def test_a_wrong_manifest_names_the_key(folder: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(folder, change)
    assert said in refusal(folder)


@pytest.mark.parametrize("path", ["../hair.onnx", "/etc/passwd", "a/../../x", "..\\x", "C:x", "", "a\0b"])
def test_a_path_out_of_the_folder(folder: Path, path: str) -> None:
    edit(folder, lambda m: m["models"][0]["files"]["fp32"].update(path=path))
    assert "leads out of the bundle" in refusal(folder)


def test_a_link_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    network = folder / "hair_fp32.onnx"
    outside = tmp_path / "outside.onnx"
    network.rename(outside)
    network.symlink_to(outside)
    assert "leads out of the folder" in refusal(folder)


def test_missing_and_changed_files(folder: Path) -> None:
    network = folder / "hair_fp32.onnx"
    content = network.read_bytes()
    network.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "was changed" in refusal(folder)
    network.write_bytes(content[: len(content) // 2])
    assert "was changed" in refusal(folder)
    network.unlink()
    assert "is missing" in refusal(folder)
    network.mkdir()
    assert "is missing" in refusal(folder)


def test_goldens_that_do_not_fit(folder: Path) -> None:
    images, outputs = np.zeros((2, 48, 64, 3), np.uint8), np.zeros((2, 1, 48, 64), np.float16)
    replace_goldens(folder, images=images, outputs=outputs)
    load_bundle(folder)
    for wrong in (
        {"images": images, "outputs": outputs[:, :, :24]},
        {"images": images[:1], "outputs": outputs},
        {"images": images[..., :1], "outputs": outputs},
        {"images": images[:0], "outputs": outputs[:0]},
        {"images": images.astype(np.float32), "outputs": outputs},
    ):
        replace_goldens(folder, **wrong)
        assert "wrong shapes" in refusal(folder)
    replace_goldens(folder, images=images)
    assert "goldens" in refusal(folder)
    (folder / "hair_goldens.npz").write_bytes(b"no npz")
    edit(folder, lambda m: m["models"][0]["goldens"].update(sha256=sha256_of(folder / "hair_goldens.npz")))
    assert "goldens" in refusal(folder)


def test_goldens_that_would_run_code_are_refused(folder: Path) -> None:
    replace_goldens(folder, images=np.array([{"a": 1}], dtype=object), outputs=np.zeros((1, 1, 48, 64), np.float16))
    assert "goldens" in refusal(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), replacement=ANY_JSON)
def test_no_damage_to_the_manifest_is_anything_but_a_refusal(
    folder: Path, data: st.DataObject, replacement: object
) -> None:
    check_that_damage_is_refused(folder, data, replacement)


@settings(max_examples=30, deadline=None)
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    threshold=st.floats(0.01, 0.99),
    quality=st.dictionaries(st.text(max_size=10), st.floats(allow_nan=False, allow_infinity=False), max_size=4),
)
def test_a_manifest_survives_writing_and_reading(
    original: Path, name: str, threshold: float, quality: dict[str, float]
) -> None:
    manifest = load_bundle(original).manifest
    model = manifest.models[0].model_copy(update={"threshold": threshold, "quality": quality})
    changed = manifest.model_copy(update={"name": name, "models": (model,)})
    assert Manifest.model_validate_json(changed.model_dump_json()) == changed


# -- the store ---------------------------------------------------------------------------------------------------------


def versions_of(original: Path, tmp_path: Path, count: int) -> list[Path]:
    made = []
    for number in range(1, count + 1):
        copy = Path(shutil.copytree(original, tmp_path / f"v{number}"))
        edit(copy, lambda m, number=number: m.update(version=str(number)))
        made.append(copy)
    return made


def test_install_then_roll_back_and_forward(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert installed_bundle_path(store) is None
    first, second, third = versions_of(original, tmp_path, 3)
    with pytest.raises(ScalpScopeError, match="no bundle before"):
        roll_back(store)
    for source in (first, second, third, third):
        install_bundle(source, store)
    current = installed_bundle_path(store)
    assert current is not None and load_bundle(current).version == "3"
    assert roll_back(store).version == "2"
    assert roll_back(store).version == "3"
    # The one in use and the one before it, nothing else.
    assert sorted(load_bundle(p).version for p in store.iterdir() if p.is_dir()) == ["2", "3"]


def test_a_damaged_bundle_leaves_the_one_in_use(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, second = versions_of(original, tmp_path, 2)
    install_bundle(first, store)
    before = sorted(p.name for p in store.iterdir())
    (second / "hair_fp32.onnx").write_bytes(b"")
    with pytest.raises(ScalpScopeError, match="was changed"):
        install_bundle(second, store)
    assert sorted(p.name for p in store.iterdir()) == before
    current = installed_bundle_path(store)
    assert current is not None and load_bundle(current).version == "1"


def test_roll_back_to_a_damaged_bundle_is_refused(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, second = versions_of(original, tmp_path, 2)
    previous = install_bundle(first, store).path
    install_bundle(second, store)
    (previous / "hair_fp32.onnx").unlink()
    with pytest.raises(ScalpScopeError, match="is missing"):
        roll_back(store)
    current = installed_bundle_path(store)
    assert current is not None and load_bundle(current).version == "2"


def test_a_damaged_copy_in_the_store_is_replaced(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    path = install_bundle(original, store).path
    (path / "hair_fp32.onnx").unlink()
    assert load_bundle(install_bundle(original, store).path).version == "1"


def test_a_damaged_pointer_is_said(tmp_path: Path) -> None:
    for text in ("", "{}", '{"current": "../x", "previous": null}', '{"current": 3, "previous": null}'):
        (tmp_path / "current.json").write_text(text)
        with pytest.raises(ScalpScopeError, match="damaged"):
            installed_bundle_path(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written(original: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ScalpScopeError):
        install_bundle(original, tmp_path / "store")


def test_the_installed_bundle_is_the_default(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_bundle_path().name == "default"
    installed = install_bundle(original, default_store())
    assert default_bundle_path() == installed.path
