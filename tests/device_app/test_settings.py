"""The device's settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.settings import ClassesName, DeviceSettings, check_scale, load_settings, parse_window


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_can_be_set_and_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "scope.json").write_text("{}")
    settings = load_settings(
        write(
            tmp_path,
            """
            source = "videos/visit.mp4"
            profile = "scope.json"
            bundle = "bundles/mine"
            precision = "fp32"
            backend = "onnxruntime-cpu"
            classes = "trichoscan"
            records = "/srv/records"
            window = "1920x1080"
            fullscreen = true
            refine_still = false
            advice = "texts/advice.toml"
            overview_folder = "heads"

            [camera]
            width = 1280
            height = 1024
            exposure = 120
            pixel_format = "YUYV"
            """,
        )
    )
    assert settings.source == str(tmp_path / "videos/visit.mp4")
    assert settings.profile == str(tmp_path / "scope.json")
    assert settings.bundle == tmp_path / "bundles/mine"
    assert (settings.precision, settings.backend) == ("fp32", "onnxruntime-cpu")
    assert settings.classes.cuts.terminal_above_um == 40.0
    assert settings.records == Path("/srv/records")
    assert settings.window == (1920, 1080)
    assert settings.fullscreen
    assert not settings.refine_still
    assert settings.advice == tmp_path / "texts/advice.toml"
    assert settings.overview_folder == tmp_path / "heads"
    assert (settings.camera.width, settings.camera.height, settings.camera.exposure) == (1280, 1024, 120)


@pytest.mark.parametrize("source", ["demo", "camera", "camera:2"])
def test_cameras_and_the_demo_are_no_paths(tmp_path: Path, source: str) -> None:
    assert load_settings(write(tmp_path, f'source = "{source}"')).source == source


def test_a_profile_that_is_no_file_beside_it_stays_a_name(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, 'profile = "scope A 50x"')).profile == "scope A 50x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sauce = "demo"', "'sauce' is not a setting"),
        ("source = 7", "source"),
        ('source = ""', "source"),
        ("source = ", "not valid TOML"),
        ('window = "huge"', "window"),
        ('window = "10x10"', "window"),
        ("um_per_px = 0", "um_per_px"),
        ("um_per_px = nan", "um_per_px"),
        ("um_per_px = true", "um_per_px"),
        ('fullscreen = "yes"', "fullscreen"),
        ('classes = "mine"', "classes"),
        ('precision = "int4"', "precision"),
        ('backend = ""', "backend"),
        ('profile = "a"\num_per_px = 2.0', "profile and um_per_px"),
        ("[camera]\nzoom = 2", "'camera.zoom' is not a setting"),
        ("[camera]\nwidth = 1280", "width and height"),
        ('[camera]\npixel_format = "H264"', "camera.pixel_format"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScalpScopeError) as refused:
        load_settings(write(tmp_path, text))
    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ScalpScopeError, match="TOML"):
        load_settings(path)


def test_a_named_file_must_exist_and_the_default_one_need_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScalpScopeError, match=r"none\.toml"):
        load_settings(tmp_path / "none.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_settings() == DeviceSettings()
    (tmp_path / "scalpscope").mkdir()
    write(tmp_path / "scalpscope", 'source = "demo"')
    assert load_settings().source == "demo"


def test_the_command_line_wins_and_one_scale_replaces_the_other() -> None:
    settings = DeviceSettings(source="demo", profile="a", classes=ClassesName.TRICHOSCAN)
    changed = settings.overridden(source="camera:1", um_per_px=2.0, classes=None)
    assert (changed.source, changed.um_per_px, changed.profile) == ("camera:1", 2.0, None)
    assert changed.classes is ClassesName.TRICHOSCAN
    assert changed.overridden(profile="b").um_per_px is None
    with pytest.raises(ScalpScopeError):
        settings.overridden(window="1x1")


@given(st.floats(allow_subnormal=False))  # ONNX Runtime leaves its threads with subnormals switched off
def test_a_scale_is_kept_exactly_or_refused(value: float) -> None:
    if 0.01 <= value <= 1000:
        assert check_scale(value) == value
    else:
        with pytest.raises(ValueError, match=r"\S"):
            check_scale(value)


@given(st.integers(480, 16384), st.integers(320, 16384))
def test_any_usable_window_is_read(width: int, height: int) -> None:
    assert parse_window(f"{width}x{height}") == (width, height)
