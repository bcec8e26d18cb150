"""Live sessions with real worker processes, stopped after each test whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.tiny_bundle import make_tiny_bundle

from device_app.camera.source import FrameSource
from device_app.live.settings import DEFAULT_PATIENCE, Patience, PipelineSettings
from device_app.live.supervisor import LiveSession

StartSession = Callable[..., LiveSession]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A bundle for pictures of 160 x 120."""
    return make_tiny_bundle(tmp_path_factory.mktemp("live") / "tiny", 160, 120)


@pytest.fixture()
def settings(bundle) -> PipelineSettings:
    return PipelineSettings(bundle, scale_um_per_px=4.0, threads=1)


@pytest.fixture()
def start_session(settings) -> Iterator[StartSession]:
    sessions: list[LiveSession] = []

    def start(
        source: FrameSource, use: PipelineSettings = settings, patience: Patience = DEFAULT_PATIENCE
    ) -> LiveSession:
        session = LiveSession(source, use, patience)
        sessions.append(session)
        session.start()
        return session

    yield start
    for session in sessions:
        session.stop()
