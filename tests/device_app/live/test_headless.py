"""The loop without a window: a report that adds up, and errors that are errors."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from support.sources import BenchSource
from support.tiny_bundle import make_tiny_bundle

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.live.headless import run_headless
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings


def test_the_report_says_what_became_of_every_frame(settings, tmp_path):
    path = tmp_path / "report.json"
    ticks: list[float] = []
    source, began_ns = BenchSource(), time.monotonic_ns()
    report = run_headless(source, settings, 1.0, path, on_tick=lambda session, seconds: ticks.append(seconds))
    assert json.loads(path.read_text()) == report
    assert report["captured"] == report["analysed"] + sum(report["dropped"].values())
    assert report["pending"] == 0 and report["reconciles"] and report["analysed"] > 0
    assert report["measured_s"] >= 1.0 and report["analysed_per_s"] > 0
    assert report["bundle"] == "tiny 1" and report["source"] == "bench"
    assert report["stage_ms"]["segment"]["p50"] <= report["stage_ms"]["segment"]["p95"]
    assert report["memory"]["session_mb"]["first"] > 0
    assert ticks == sorted(ticks) and len(ticks) > 2
    assert source.opened == 1  # a camera takes seconds to open
    over_ns = time.monotonic_ns()
    assert began_ns < report["first_analysed_ns"] < over_ns - 1e9  # the measured second came after


def test_a_file_that_ends_ends_the_run(settings):
    began = time.monotonic()
    report = run_headless(BenchSource(fps=5.0, ends_after=10), settings, 3600.0)
    assert report["captured"] == 10 and report["source_state"] == "ended"
    assert time.monotonic() - began < 600


def test_a_refused_bundle_a_missing_source_and_a_missing_folder_are_errors(settings, tmp_path):
    bad = make_tiny_bundle(tmp_path / "bad", 160, 120)
    (bad / "manifest.json").unlink()
    threads = threading.active_count()
    with pytest.raises(ScalpScopeError, match=r"manifest\.json"):
        run_headless(BenchSource(), dataclasses.replace(settings, bundle_path=bad), 1.0)
    unplugged = BenchSource()
    unplugged.unplug()
    with pytest.raises(ScalpScopeError, match="unplugged"):
        run_headless(unplugged, settings, 1.0)
    with pytest.raises(ScalpScopeError, match="no folder"):
        run_headless(BenchSource(), settings, 1.0, tmp_path / "none" / "report.json")
    assert threading.active_count() == threads  # nothing keeps running


def test_no_analysable_frame_at_all_is_an_error_that_says_why(settings):
    with pytest.raises(ScalpScopeError, match="calibration in use"):
        run_headless(BenchSource(ends_after=20), dataclasses.replace(settings, picture_size=(1280, 1024)), 1.0)


class TestPipeline:
    """The pipeline itself, in this process."""

    def test_it_corrects_the_light_before_anything_else(self, settings):
        from calibration.optics.illumination import FlatField

        shade = np.tile(np.linspace(0.3, 1.0, 160), (120, 1))[..., None]
        white = (np.full((120, 160, 3), 250.0) * shade).astype(np.uint8)
        scalp = (np.full((120, 160, 3), (205.0, 160.0, 140.0)) * shade).astype(np.uint8)
        frame = Frame(3, scalp, 0)
        plain = Pipeline(settings).analyse(frame)
        corrected = Pipeline(dataclasses.replace(settings, flat_field=FlatField.from_white_picture(white))).analyse(
            frame
        )
        assert plain.mask.any()  # the dark side passes for hair
        assert not corrected.mask.any()
        assert corrected.frame_id == 3 and corrected.timings_ms["total"] >= corrected.timings_ms["segment"]

    def test_other_settings_keep_the_engine_where_they_can(self, settings, tmp_path):
        pipeline = Pipeline(settings)
        assert pipeline.with_settings(dataclasses.replace(settings, scale_um_per_px=7.0)) is pipeline
        assert pipeline.settings.scale_um_per_px == 7.0
        other = make_tiny_bundle(tmp_path / "other", 160, 120)
        assert pipeline.with_settings(PipelineSettings(other, threads=1)) is not pipeline

    def test_a_refused_bundle_leaves_the_old_pipeline_working(self, settings, tmp_path):
        pipeline = Pipeline(settings)
        with pytest.raises(ScalpScopeError):
            pipeline.with_settings(dataclasses.replace(settings, bundle_path=tmp_path))
        image = np.full((120, 160, 3), 200, np.uint8)
        assert pipeline.analyse(Frame(0, image, 0)).measurements.hair_count == 0
