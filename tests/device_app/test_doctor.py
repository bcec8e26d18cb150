"""`scalpscope doctor`: what it finds on this very machine, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from device_app.cli import call
from device_app.doctor import Finding, State, can_run, examine
from device_app.doctor_checks import check_bundle, check_disk, check_onnxruntime, check_profile
from device_app.doctor_engines import accelerator_findings, cache_finding
from device_app.settings import DeviceSettings
from tests.support.colour_classifier import make_classifier_bundle
from tests.support.command import environment, scalpscope
from tests.support.file_trees import ORIN, write_tree
from tests.support.tiny_sam import make_sam_bundle


def by_name(out: str) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(out)["findings"]}


def test_without_a_screen_the_app_cannot_run_and_the_way_out_is_said(tiny_bundle: Path) -> None:
    if list(Path("/dev/dri").glob("card*")):
        pytest.skip("this machine has a graphics card, so a window needs no desktop")
    env = environment(DISPLAY=None, WAYLAND_DISPLAY=None, SDL_VIDEODRIVER=None)
    run = scalpscope("doctor", "--json", "--bundle", tiny_bundle, env=env)
    assert run.returncode == 1, run.stderr
    display = by_name(run.stdout)["display"]
    assert display["state"] == "fail"
    assert "--headless" in display["remedy"]
    assert json.loads(run.stdout)["can_run"] is False


def test_every_part_of_the_machine_is_looked_at(tiny_bundle: Path) -> None:
    run = scalpscope("doctor", "--json", "--bundle", tiny_bundle, env=environment(SDL_VIDEODRIVER="offscreen"))
    findings = by_name(run.stdout)
    assert {"python", "system", "memory", "records", "display", "opengl", "onnxruntime", "telemetry"} <= set(findings)
    assert {"accelerator", "bundle", "engine", "scale"} <= set(findings)
    assert any(name.startswith("camera") for name in findings)
    assert not [finding for finding in findings.values() if "could not be checked" in finding["found"]]
    assert all(finding["remedy"] for finding in findings.values() if finding["state"] != "ok")
    assert findings["telemetry"]["state"] == "ok"
    assert "goldens reproduced" in findings["engine"]["found"]
    if "no NVIDIA GPU" in findings["accelerator"]["found"]:  # nothing better was passed over, and that is said too
        assert findings["accelerator"]["state"] == "ok" and "engine cache" not in findings
        assert "tensorrt not used: no NVIDIA GPU" in findings["back ends"]["found"]
    assert "demonstration" in findings["bundle"]["found"]
    assert run.returncode == (1 if any(finding["state"] == "fail" for finding in findings.values()) else 0)


def test_the_table_shows_findings_and_remedies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(["doctor", "--bundle", str(tmp_path / "none")]) == 1
    out = capfd.readouterr().out
    assert "onnxruntime" in out
    assert "FAIL" in out
    assert "-> Give the folder" in out
    assert "cannot run here" in out


def test_a_damaged_bundle_is_a_failure(tmp_path: Path, tiny_bundle: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    network = next(copy.rglob("*.onnx"))
    network.write_bytes(network.read_bytes()[:-1] + b"?")
    (finding,) = check_bundle(DeviceSettings(bundle=copy))
    assert finding.state is State.FAIL
    assert network.name in finding.found
    assert finding.remedy
    assert not can_run([finding])


def test_an_engine_that_was_asked_for_and_is_not_there_is_a_failure(tiny_bundle: Path) -> None:
    findings = check_bundle(DeviceSettings(bundle=tiny_bundle, precision="int8_u8s8"))
    assert [finding.state for finding in findings if finding.name == "engine"] == [State.FAIL]


def test_telemetry_that_somebody_switched_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    states = {finding.name: finding.state for finding in check_onnxruntime(DeviceSettings())}
    assert states["telemetry"] is State.WARN


def test_a_profile_that_is_missing_is_told(tmp_path: Path) -> None:
    (finding,) = check_profile(DeviceSettings(profile=str(tmp_path / "gone.json")))
    assert finding.state is State.FAIL
    (finding,) = check_profile(DeviceSettings(um_per_px=2.5))
    assert finding.state is State.OK


def test_the_disk_of_the_records_is_the_one_measured(tmp_path: Path) -> None:
    (finding,) = check_disk(DeviceSettings(records=tmp_path / "not" / "there" / "yet"))
    assert "GiB free" in finding.found
    assert not (tmp_path / "not").exists()  # the doctor changes nothing
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        (finding,) = check_disk(DeviceSettings(records=tmp_path / "records"))
        tmp_path.chmod(0o700)
        assert finding.state is State.WARN


def test_warnings_do_not_keep_the_app_from_running() -> None:
    assert can_run([Finding("a", State.OK, ""), Finding("b", State.WARN, "")])
    assert not can_run([Finding("a", State.OK, ""), Finding("b", State.FAIL, "")])


def test_examining_never_raises(tmp_path: Path) -> None:
    settings = DeviceSettings(bundle=tmp_path / "none", profile="none", records=Path("/proc/none"))
    findings = examine(settings)
    assert {"bundle", "scale", "records"} <= {finding.name for finding in findings}


def test_whether_the_bundle_can_refine_is_said(tmp_path: Path, tiny_bundle: Path) -> None:
    sam = make_sam_bundle(tmp_path / "sam", 64, 48)
    with_sam, without = (
        {finding.name: finding for finding in check_bundle(DeviceSettings(bundle=bundle))}
        for bundle in (sam, tiny_bundle)
    )
    assert "hair, sam_encoder, sam_decoder" in with_sam["bundle"].found
    assert "decoder onnxruntime-cpu fp16" in with_sam["refinement"].found
    assert without["refinement"].state is State.WARN
    assert "has no SAM" in without["refinement"].found and without["refinement"].remedy


def test_whether_the_bundle_can_grade_and_stage_is_said(tmp_path: Path, tiny_bundle: Path) -> None:
    whole = make_classifier_bundle(tmp_path / "whole", 64, 48, overview=True)
    refused = make_classifier_bundle(tmp_path / "refused", 64, 48, refused=True)
    whole_said, refused_said, without = (
        {finding.name: finding for finding in check_bundle(DeviceSettings(bundle=bundle))}
        for bundle in (whole, refused, tiny_bundle)
    )
    for name in ("conditions", "hair-loss stage"):
        assert whole_said[name].state is State.OK and "goldens reproduced: probabilities" in whole_said[name].found
        assert without[name].state is State.OK and "Everything else works" in without[name].found
    assert refused_said["conditions"].state is State.WARN and refused_said["conditions"].remedy
    assert "computes something else" in refused_said["conditions"].found
    assert refused_said["hair-loss stage"].state is State.OK
    assert can_run(list(refused_said.values()))


# --- the accelerator ---


def test_a_machine_without_a_gpu_lacks_nothing(tmp_path: Path) -> None:
    (finding,) = accelerator_findings(tmp_path)
    assert finding.state is State.OK and "no NVIDIA GPU" in finding.found and not finding.remedy


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A package called `tensorrt`, such as a system or pip would bring, for this test."""
    write_tree(tmp_path / "packages", {"tensorrt/__init__.py": source})
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")


@pytest.mark.parametrize(
    ("files", "remedy"),
    [(ORIN, "jetpack6"), ({"dev/nvidia0": ""}, "tensorrt-cu13")],
    ids=["a Jetson", "a PC with a card"],
)
def test_a_gpu_without_tensorrt_is_told_with_the_way_to_it(tmp_path: Path, files: dict[str, str], remedy: str) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("this environment has TensorRT")
    findings = {each.name: each for each in accelerator_findings(write_tree(tmp_path, files))}
    assert findings["tensorrt"].state is State.WARN
    assert remedy in findings["tensorrt"].remedy and "docs/jetson.md" in findings["tensorrt"].remedy
    # No driver answers on this machine, or it is a real one.
    assert findings["accelerator"].state is State.OK or findings["accelerator"].remedy
    assert can_run(list(findings.values()))


@pytest.mark.parametrize(
    ("source", "state", "words"),
    [
        ("__version__ = '10.3.0'", State.OK, "TensorRT 10.3.0"),
        ("__version__ = '11.4.0.106'", State.OK, "TensorRT 11.4.0.106"),
        ("__version__ = '8.6.1'", State.WARN, "not tested"),
        ("__version__ = '12.0.0'", State.WARN, "not tested"),
        ("raise ImportError('libnvinfer.so.10: no such file')", State.WARN, "libnvinfer.so.10"),
    ],
)
def test_the_version_of_tensorrt_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, state: State, words: str
) -> None:
    install(tmp_path, monkeypatch, source)
    finding = {each.name: each for each in accelerator_findings(write_tree(tmp_path, ORIN))}["tensorrt"]
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert finding.state is state and words in finding.found
    assert bool(finding.remedy) == (state is not State.OK)


def test_the_engine_cache_is_looked_at_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "engines"
    finding = cache_finding(folder)
    assert finding.state is State.OK and str(folder) in finding.found
    assert not folder.exists() and not folder.parent.exists()
    folder.mkdir(parents=True, mode=0o700)
    (folder / "hair.plan").write_bytes(bytes(2**20))
    finding = cache_finding(folder)
    assert finding.state is State.OK and "engines built: 1, 1 MiB" in finding.found
    folder.chmod(0o777)
    finding = cache_finding(folder)
    assert finding.state is State.WARN and finding.remedy
