"""`scalpscope bundle`: what is in use, a new one, the one before; a bad one changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.command import environment, scalpscope


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
