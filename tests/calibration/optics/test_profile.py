"""Profiles: what is saved is what is loaded, and what is wrong is refused with the way to mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from calibration.optics.illumination import FlatField
from calibration.optics.profile import (
    SCHEMA_VERSION,
    Profile,
    ScaleMethod,
    list_profiles,
    profile_path,
    profiles_folder,
)


def profile(**changes: Any) -> Profile:
    facts: dict[str, Any] = {
        "name": "scope-a 50x",
        "microscope": "Handheld 3",
        "magnification": "50x",
        "width_px": 640,
        "height_px": 480,
        "scale_um_per_px": 3.2,
        "scale_uncertainty_um_per_px": 0.004,
        "method": ScaleMethod.RULER,
    }
    return Profile.make(**(facts | changes))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def even_light() -> FlatField:
    gains = 1.0 + np.random.default_rng(0).random((12, 16, 3))
    return FlatField(gains, (1.0, 1.1, 1.3))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    scale=st.floats(0.01, 1000.0),
    relative=st.floats(0.0, 0.99),
    width=st.integers(1, 10_000),
    microscope=st.text(max_size=50),
    lit=st.booleans(),
)
def test_what_is_saved_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, scale: float, relative: float, width: int, microscope: str, lit: bool
) -> None:
    saved = profile(
        scale_um_per_px=scale, scale_uncertainty_um_per_px=scale * relative, width_px=width, microscope=microscope
    )
    if lit:
        saved = saved.with_illumination(even_light())
    path = tmp_path_factory.mktemp("profiles") / "deeper" / "p.json"
    saved.save(path)
    assert Profile.load(path) == saved


def test_light_survives_the_file(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 200, (480, 640, 3)).astype(np.uint8)
    field = even_light()
    profile().with_illumination(field).save(tmp_path / "p.json")
    loaded = Profile.load(tmp_path / "p.json").illumination()
    assert loaded is not None
    assert np.abs(loaded.correct(picture).astype(int) - field.correct(picture)).max() <= 1
    assert profile().illumination() is None


def test_profiles_are_found_by_name_and_listed(home: Path) -> None:
    assert list_profiles() == []
    with pytest.raises(ScalpScopeError, match=r"no profile 'scope-a 50x'.*scalpscope-calibrate ruler"):
        Profile.load("scope-a 50x")
    saved = profile()
    saved.save(profile_path(saved.name))
    assert profiles_folder() == home / "config" / "scalpscope" / "profiles"
    assert [path.stem for path in list_profiles()] == ["scope-a 50x"]
    assert Profile.load("scope-a 50x") == saved
    assert Profile.load("scope-a 50x.json") == saved
    with pytest.raises(ScalpScopeError, match="Known profiles: scope-a 50x"):
        Profile.load("scope-b")


def test_profiles_go_home_without_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert profiles_folder() == tmp_path / ".config" / "scalpscope" / "profiles"


@pytest.mark.parametrize("size", [(1280, 960), (320, 240), (480, 640), (641, 480)])
def test_another_resolution_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ScalpScopeError) as caught:
        profile().check_resolution(*size)
    assert "640 x 480" in caught.value.what
    assert f"{size[0]} x {size[1]}" in caught.value.what
    assert "Set the camera to 640 x 480" in caught.value.remedy


def test_its_own_resolution_is_taken() -> None:
    profile().check_resolution(640, 480)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "newer ScalpScope.*Update"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": None}, "no schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"scale_um_per_px": "3.2"}, "scale_um_per_px"),
        ({"scale_um_per_px": 0}, "scale_um_per_px"),
        ({"scale_uncertainty_um_per_px": 4.0}, "smaller than"),
        ({"width_px": 640.5}, "width_px"),
        ({"width_px": -640}, "width_px"),
        ({"method": "guessed"}, "method"),
        ({"created": "2025-01-01T10:00:00"}, "created"),
        ({"flat_field": {"gains": [[[1, 1, 1]], [[1, 1, 1]]]}}, "flat_field"),
        ({"flat_field": {"gains": [[[1, 1, 1]] * 2, [[1, 1, 1]] * 3]}}, "flat_field"),
        ({"white_balance": [0.2, 1, 1]}, "white_balance"),
    ],
)
def test_a_wrong_profile_is_refused_and_says_where(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    content = json.loads(profile().model_dump_json()) | changes
    path = tmp_path / "p.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(ScalpScopeError, match=said):
        Profile.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'"text"', b"\xff\xfe\x00", b'{"schema_version": NaN}', b"[" * 100_000]
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"p\.json.*[Cc]alibrate again"):
        Profile.load(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = profile().with_illumination(even_light()).model_dump_json().encode()
    path = tmp_path / "p.json"
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ScalpScopeError):
            Profile.load(path)


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a\nb", "x" * 81, "-dash"])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(ScalpScopeError, match="cannot be the name"):
        profile(name=name)


def test_names_in_other_scripts_are_taken() -> None:
    assert profile(name="두피 현미경 50x").name == "두피 현미경 50x"


def test_a_profile_on_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    """A folder in the way of the folder stands for any disk that refuses; test_files fills a real one."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ScalpScopeError, match="is a file"):
        profile().save(tmp_path / "taken" / "p.json")
