"""`scalpscope bundle`: what is in use, a new one, the one before; a bad one changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from device_app.bundle import MANIFEST_NAME, sha256_of
from tests.support.command import environment, scalpscope
from tests.support.tiny_sam import make_sam_bundle, make_sam_decoder


def test_a_bundle_is_installed_shown_and_taken_back(tmp_path: Path, tiny_bundle: Path) -> None:
    env = environment(XDG_DATA_HOME=str(tmp_path))
    before = scalpscope("bundle", "show", env=env)
    assert before.returncode == 0
    assert before.stdout.startswith("default ")
    assert scalpscope("bundle", "install", tiny_bundle, env=env).returncode == 0
    assert scalpscope("bundle", "show", env=env).stdout.startswith("tiny ")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    next(broken.glob("*.onnx")).write_bytes(b"no network")
    refused = scalpscope("bundle", "install", broken, env=env)
    assert refused.returncode == 2
    assert "SHA-256" in refused.stderr
    assert scalpscope("bundle", "show", env=env).stdout.startswith("tiny ")


def test_with_nothing_before_it_there_is_nothing_to_take_back(tmp_path: Path) -> None:
    result = scalpscope("bundle", "roll-back", env=environment(XDG_DATA_HOME=str(tmp_path)))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_the_networks_of_a_bundle_are_listed(tmp_path: Path, tiny_bundle: Path) -> None:
    sam = make_sam_bundle(tmp_path / "sam", 64, 48)
    shown = scalpscope("bundle", "show", sam, env=environment(XDG_DATA_HOME=str(tmp_path)))
    assert shown.returncode == 0, shown.stderr
    assert "Networks: hair, sam_encoder, sam_decoder." in shown.stdout
    assert "sam_decoder: fp16" in shown.stdout
    assert "Networks: hair." in scalpscope("bundle", "show", tiny_bundle).stdout


def test_a_bundle_whose_sam_does_not_run_is_not_installed(tmp_path: Path) -> None:
    env = environment(XDG_DATA_HOME=str(tmp_path / "home"))
    sam = make_sam_bundle(tmp_path / "sam", 64, 48)
    path, other = sam / "sam_decoder_fp16.onnx", tmp_path / "other.onnx"
    make_sam_decoder(other, 64, 48, fails_from=2)
    manifest = sam / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace(sha256_of(path), sha256_of(other)))
    path.write_bytes(other.read_bytes())
    refused = scalpscope("bundle", "install", sam, env=env)
    assert refused.returncode == 2
    assert "sam_decoder" in refused.stderr
    assert scalpscope("bundle", "show", env=env).stdout.startswith("default ")
