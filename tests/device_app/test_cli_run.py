"""`scalpscope run` without a window: the same loop, with a report; and what it refuses."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from calibration.errors import ScalpScopeError
from calibration.optics.profile import Profile, ScaleMethod
from device_app.cli import call
from device_app.commands.run import camera_settings, first_camera_or_demo, plan
from device_app.settings import CameraTable, DeviceSettings
from tests.support.command import environment, scalpscope, start
from tests.support.tiny_sam import make_sam_bundle


def make_profile(folder: Path, width: int = 320, height: int = 240) -> Path:
    path = folder / "scope.json"
    Profile(
        name="scope A",
        width_px=width,
        height_px=height,
        scale_um_per_px=4.0,
        scale_uncertainty_um_per_px=0.1,
        method=ScaleMethod.TYPED,
    ).save(path)
    return path


def test_headless_runs_the_loop_and_reports(tmp_path: Path, tiny_bundle: Path) -> None:
    report = tmp_path / "report.json"
    words = ("run", "--headless", "--source", "demo", "--seconds", "2", "--report", report, "--bundle", tiny_bundle)
    run = scalpscope(*words)
    assert run.returncode == 0, run.stderr
    found = json.loads(report.read_text())
    assert found["source"] == "demo"
    assert found["analysed"] > 0
    assert found["reconciles"] is True
    assert found["captured"] == found["analysed"] + sum(found["dropped"].values())
    assert found["bundle"] == "tiny 1"
    assert str(found["analysed"]) in run.stdout


def test_a_folder_of_pictures_is_a_source(tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]) -> None:
    report = tmp_path / "report.json"
    words = ["run", "--headless", "--source", str(hairy_pictures[0].parent), "--seconds", "1", "--report", str(report)]
    profile = make_profile(tmp_path)
    assert call([*words, "--profile", str(profile), "--bundle", str(tiny_bundle)]) == 0
    assert json.loads(report.read_text())["analysed"] > 0


def test_a_profile_for_another_resolution_ends_it(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--headless", "--source", str(hairy_pictures[0].parent), "--seconds", "5"]
    profile = make_profile(tmp_path, 1280, 1024)
    assert call([*words, "--profile", str(profile), "--bundle", str(tiny_bundle)]) == 2
    assert "1280 x 1024" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--headless"], "--seconds"),
        (["--seconds", "3"], "--headless"),
        (["--headless", "--seconds", "1", "--source", "/no/such/video.mp4"], "/no/such/video.mp4"),
        (["--headless", "--seconds", "1", "--source", "camera:97"], "camera 97"),
        (["--headless", "--seconds", "1", "--source", "demo", "--bundle", "/no/bundle"], "/no/bundle"),
        (["--headless", "--seconds", "1", "--source", "demo", "--backend", "warp"], "no back end 'warp'"),
        (["--headless", "--seconds", "1", "--source", "demo", "--report", "/no/folder/r.json"], "/no/folder"),
        (["--um-per-px", "2", "--profile", "x"], "Give one of them"),
        (["--settings", "/no/settings.toml"], "/no/settings.toml"),
        (["--window", "tiny"], "window"),
        (["--profile", "no such scope"], "no such scope"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(
    tiny_bundle: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "--bundle" not in words:
        words = [*words, "--bundle", str(tiny_bundle)]
    assert call(["run", *words]) == 2
    err = capfd.readouterr().err
    assert said in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_the_settings_file_is_used_and_the_command_line_wins(tmp_path: Path, tiny_bundle: Path) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text(f'source = "/no/such.mp4"\nbundle = "{tiny_bundle}"\n')
    report = tmp_path / "report.json"
    words = ["run", "--headless", "--seconds", "0.5", "--report", str(report), "--settings", str(settings)]
    assert call(words) == 2
    assert call([*words, "--source", "demo"]) == 0
    assert json.loads(report.read_text())["source"] == "demo"


@pytest.mark.parametrize(("words", "by_itself"), [([], 0), (["--no-refine-still"], 0), (["--refine-still"], 1)])
def test_without_a_window_still_pictures_are_refined_only_when_told(
    tmp_path: Path, hairy_pictures: list[Path], words: list[str], by_itself: int
) -> None:
    bundle = make_sam_bundle(tmp_path / "sam", 320, 240)
    report = tmp_path / "report.json"
    run = ["run", "--headless", "--source", str(hairy_pictures[0]), "--seconds", "4", "--report", str(report)]
    assert call([*run, "--bundle", str(bundle), *words]) == 0
    refinements = json.loads(report.read_text())["refinements"]
    assert refinements["asked"] == refinements["by_itself"] == by_itself
    assert refinements["missing"] == "" and refinements["failed"] == 0


def test_with_a_window_still_pictures_are_refined_unless_the_settings_say_no() -> None:
    assert plan(DeviceSettings(source="demo")).pipeline.refine_still
    assert not plan(DeviceSettings(source="demo", refine_still=False)).pipeline.refine_still


def test_the_demo_brings_its_own_scale_and_no_other_is_used(tmp_path: Path) -> None:
    for settings in (
        DeviceSettings(source="demo"),
        DeviceSettings(source="demo", um_per_px=9.0),
        DeviceSettings(source="demo", profile=str(make_profile(tmp_path))),
    ):
        planned = plan(settings)
        assert planned.pipeline.scale_um_per_px == 3.0
        assert planned.profile is None


def test_a_profile_gives_scale_and_camera_size(tmp_path: Path, hairy_pictures: list[Path]) -> None:
    settings = DeviceSettings(source=str(hairy_pictures[0]), profile=str(make_profile(tmp_path, 1280, 1024)))
    planned = plan(settings)
    assert planned.pipeline.scale_um_per_px == 4.0
    assert planned.pipeline.scale_uncertainty_um_per_px == 0.1
    assert planned.profile is not None
    camera = camera_settings(settings, planned.profile)
    assert (camera.width, camera.height) == (1280, 1024)
    chosen = settings.model_copy(update={"camera": CameraTable(width=800, height=600, exposure=120.0)})
    camera = camera_settings(chosen, planned.profile)
    assert (camera.width, camera.height, camera.exposure) == (800, 600, 120.0)
    assert (camera_settings(DeviceSettings(), None).width, camera_settings(DeviceSettings(), None).height) == (640, 480)


def test_without_a_camera_it_is_the_demo_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    if list(Path("/sys/class/video4linux").glob("video*")):
        pytest.skip("this machine has a camera")
    assert first_camera_or_demo() == "demo"
    assert "demo scalp" in capfd.readouterr().err


def test_without_a_display_the_window_is_refused_and_the_way_out_said(tiny_bundle: Path) -> None:
    if list(Path("/dev/dri").glob("card*")):
        pytest.skip("this machine has a graphics card, so a window needs no desktop")
    env = environment(DISPLAY=None, WAYLAND_DISPLAY=None, SDL_VIDEODRIVER=None)
    run = scalpscope("run", "--source", "demo", "--bundle", tiny_bundle, env=env)
    assert run.returncode == 2
    (line,) = run.stderr.strip().splitlines()
    assert "no display" in line
    assert "--headless" in line


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_window_opens_on_the_demo_and_ends_when_told(tiny_bundle: Path, end: signal.Signals) -> None:
    """`make run` on a machine without a camera, as far as a test without eyes can see."""
    env = environment(SDL_VIDEODRIVER="offscreen")
    with start("run", "--bundle", tiny_bundle, "--source", "demo", "--window", "800x480", "--verbose", env=env) as app:
        try:
            workers: list[psutil.Process] = []
            while not workers:  # the worker starts before the window is drawn for the first time
                assert app.poll() is None, app.communicate()[1]
                workers = psutil.Process(app.pid).children(recursive=True)
                time.sleep(0.05)
            app.send_signal(end)
            _, err = app.communicate(timeout=200)
        finally:
            app.kill()
    assert app.returncode == 0
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


def test_a_back_end_is_chosen_in_the_settings_and_on_the_command_line() -> None:
    assert plan(DeviceSettings(source="demo")).pipeline.backend is None
    chosen = DeviceSettings(source="demo", backend="tensorrt")
    assert plan(chosen).pipeline.backend == "tensorrt"
    assert plan(chosen.overridden(backend="onnxruntime-cpu")).pipeline.backend == "onnxruntime-cpu"


def test_a_source_that_is_nothing_is_refused() -> None:
    with pytest.raises(ScalpScopeError, match="nonsense"):
        plan(DeviceSettings(source="nonsense"))
