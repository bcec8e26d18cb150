"""What several tests of the device share: a tiny bundle and pictures with hairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_app.camera.phantom import render_phantom
from device_app.images import write_png_atomically
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle whose network calls dark pixels hair."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", 320, 240)


@pytest.fixture(scope="session")
def hairy_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three phantoms, 320 x 240 at 4 µm per pixel, as PNG files."""
    folder = tmp_path_factory.mktemp("hairy")
    paths = [folder / f"scalp-{seed}.png" for seed in (1, 2, 3)]
    for seed, path in enumerate(paths):
        write_png_atomically(path, render_phantom(seed, 320, 240, 4.0, 8).image)
    return paths
