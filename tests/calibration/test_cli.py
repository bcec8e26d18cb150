"""The calibration command as a user types it: real processes, real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.rulers import RulerScene, render_ruler

from calibration.optics.profile import Profile, ScaleMethod

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Runs the command with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.profiles = home / "config" / "scalpscope" / "profiles"

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "calibration.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, check=False)

    def ok(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    def refused(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    ruler = render_ruler(RulerScene(spacing=25.0, angle_deg=63.0, noise=4.0, numbers=True))
    cv2.imwrite(str(tmp_path / "ruler.png"), ruler[..., ::-1])
    y, x = np.mgrid[:480, :640]
    paper = 220.0 - 80.0 * (((x - 300) / 640) ** 2 + ((y - 220) / 480) ** 2)
    cv2.imwrite(
        str(tmp_path / "white.png"), np.clip(paper[..., None] * np.array([0.8, 0.9, 1.0]), 0, 255).astype(np.uint8)
    )
    return Shell(tmp_path)


def test_a_microscope_is_calibrated_from_ruler_to_list(shell: Shell) -> None:
    assert "No profiles yet" in shell.ok("list")
    said = shell.ok("ruler", "ruler.png", "--tick-um", "100", "--name", "scope-a", "--magnification", "50x")
    assert "Ruler found" in said
    assert "25.00" in said
    profile = Profile.load(shell.profiles / "scope-a.json")
    assert profile.scale_um_per_px == pytest.approx(4.0, rel=0.003)
    assert profile.method is ScaleMethod.RULER
    assert (profile.width_px, profile.height_px) == (640, 480)

    assert "white balance" in shell.ok("white", "white.png", "--profile", "scope-a")
    lit = Profile.load(shell.profiles / "scope-a.json")
    assert lit.scale_um_per_px == profile.scale_um_per_px
    assert lit.illumination() is not None
    shown = shell.ok("show", "scope-a")
    assert "4.00" in shown
    assert "50x" in shown
    assert "640 x 480" in shown
    assert "scope-a" in shell.ok("list")


def test_the_other_two_ways_to_a_scale(shell: Shell) -> None:
    points = ["--first", "100", "100", "--second", "400", "500", "--distance-um", "1000"]
    assert "outside the picture" in shell.refused("points", "ruler.png", *points, "--name", "b")
    points[5] = "400"
    points[4] = "500"
    shell.ok("points", "ruler.png", *points, "--name", "b", "--out", "b.json")
    assert Profile.load(shell.home / "b.json").scale_um_per_px == pytest.approx(2.0)
    shell.ok("typed", "--um-per-px", "2.5", "--width", "1280", "--height", "1024", "--name", "c")
    typed = Profile.load(shell.profiles / "c.json")
    assert (typed.scale_um_per_px, typed.method) == (2.5, ScaleMethod.TYPED)


def test_nothing_is_overwritten_unasked(shell: Shell) -> None:
    typed = ["typed", "--width", "640", "--height", "480", "--name", "a"]
    shell.ok(*typed, "--um-per-px", "2.5")
    assert "already a profile" in shell.refused(*typed, "--um-per-px", "3.5")
    assert Profile.load(shell.profiles / "a.json").scale_um_per_px == 2.5
    shell.ok(*typed, "--um-per-px", "3.5", "--replace")
    assert Profile.load(shell.profiles / "a.json").scale_um_per_px == 3.5


def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(shell: Shell) -> None:
    ruler = ["ruler", "--tick-um", "100", "--name", "x"]
    assert "does not exist" in shell.refused(*ruler, "none.png")
    assert "No ruler was found" in shell.refused(*ruler, "white.png")
    assert "cannot be the name" in shell.refused("ruler", "ruler.png", "--tick-um", "100", "--name", "a/b")
    assert "not a distance" in shell.refused("ruler", "ruler.png", "--tick-um", "0", "--name", "x")
    assert "no profile 'x'" in shell.refused("white", "white.png", "--profile", "x")
    assert "no profile 'x'" in shell.refused("show", "x")
    assert not shell.profiles.exists()
    shell.ok("typed", "--um-per-px", "2.5", "--width", "1280", "--height", "1024", "--name", "large")
    assert "1280 x 1024" in shell.refused("white", "white.png", "--profile", "large")
    before = (shell.profiles / "large.json").read_bytes()
    assert (shell.profiles / "large.json").read_bytes() == before


def test_a_broken_profile_does_not_hide_the_others(shell: Shell) -> None:
    shell.ok("typed", "--um-per-px", "2.5", "--width", "640", "--height", "480", "--name", "good")
    (shell.profiles / "bad.json").write_text("{")
    listed = shell.ok("list")
    assert "good" in listed
    assert "not a profile" in listed


def test_help_tells_how_to_begin(shell: Shell) -> None:
    assert "scalpscope-calibrate ruler PICTURE" in " ".join(shell.ok("--help").split())
    assert "stage micrometer" in shell.ok("ruler", "--help")
