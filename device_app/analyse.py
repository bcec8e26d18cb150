"""Measuring and grading single pictures from a program: the pipeline of the live loop, without camera, threads or
processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.optics.profile import Profile
from device_app.analysis_files import Provenance
from device_app.bundle import Task, default_bundle_path, load_bundle
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.live.analysis import Analysis, ClassJudgement, Conditions
from device_app.live.classifier import Classifiers, PhotoJudge
from device_app.live.pipeline import Pipeline
from device_app.live.refinement import Correction, Refinement
from device_app.live.settings import PipelineSettings
from device_app.vision.hairs import TRICHOSCOPY, HairClasses


class PictureAnalyser:
    """Opens a bundle once and measures any number of pictures.

    Args:
        scale_um_per_px: micrometres per pixel; None without a profile: no physical figures.
        profile: a microscope's calibration, in place of `scale_um_per_px`: scale, its uncertainty, light correction.
            Pictures of another resolution than the profile's are refused.
        bundle_path: None = the bundle that ships.
        classes: cuts between vellus, intermediate and terminal hairs.
        precision: which of the bundle's files to run; None = the best for this machine.
        threads: CPU threads of the network.

    Raises:
        ScalpScopeError: the bundle or the engine is refused.
    """

    def __init__(
        self,
        *,
        scale_um_per_px: float | None = None,
        profile: Profile | None = None,
        bundle_path: Path | None = None,
        classes: HairClasses = TRICHOSCOPY,
        precision: Precision | None = None,
        threads: int = 2,
    ) -> None:
        if profile is not None and scale_um_per_px is not None:
            raise ValueError("a profile and a scale were given; give one of them")
        self._profile = profile
        self._next_id = 1
        self._sam_reasons: tuple[str, ...] = ()
        self._sam_fallback = False
        self._last_refined: Frame | None = None
        uncertainty = 0.0 if profile is None else profile.scale_uncertainty_um_per_px
        self._pipeline = Pipeline(
            PipelineSettings(
                bundle_path=bundle_path or default_bundle_path(),
                scale_um_per_px=scale_um_per_px if profile is None else profile.scale_um_per_px,
                scale_uncertainty_um_per_px=uncertainty,
                classes=classes,
                precision=precision,
                threads=threads,
                closer=True,
                flat_field=None if profile is None else profile.illumination(),
            )
        )

    @property
    def provenance(self) -> Provenance:
        """What the results rest on, for their files; of the other engines too once they are open."""
        pipeline = self._pipeline
        reasons, fallback = pipeline.classifiers.reasons
        return Provenance(
            profile=None if self._profile is None else self._profile.name,
            scale_uncertainty_um_per_px=None if self._profile is None else self._profile.scale_uncertainty_um_per_px,
            engine_reasons=pipeline.engine_reasons + self._sam_reasons + reasons,
            fallback=pipeline.fallback or self._sam_fallback or fallback,
            conditions_missing=pipeline.conditions_missing,
        )

    @property
    def bundle(self) -> str:
        """Name and version of the bundle."""
        return self._pipeline.bundle

    @property
    def backend(self) -> str:
        """Back end and precision of the engine."""
        return self._pipeline.backend

    def analyse(self, image: np.ndarray) -> Analysis:
        """Find and measure the hairs of one picture, (H, W, 3) uint8 RGB.

        Raises:
            ScalpScopeError: the profile is for another resolution, or the picture cannot be measured.
        """
        return self._pipeline.analyse(self._frame(image))

    @property
    def refinement_missing(self) -> str | None:
        """Why the bundle cannot refine, in plain words; None when it can."""
        return self._pipeline.refinement_missing

    def open_refiner(self) -> None:
        """Open SAM now and not with the first picture.

        Raises:
            ScalpScopeError: the bundle has no SAM, or every engine is refused.
        """
        refiner = self._pipeline.open_refiner()
        self._sam_reasons, self._sam_fallback = refiner.reasons, refiner.fallback

    def refine(self, image: np.ndarray, corrections: Sequence[Correction] = ()) -> Refinement:
        """Find and measure the hairs of one picture with SAM's help, (H, W, 3) uint8 RGB.

        Args:
            image: the picture.
            corrections: places where there is a hair, or none. The picture that was refined last needs SAM's decoder
                only.

        Raises:
            ScalpScopeError: the bundle has no SAM, the profile is for another resolution, or the picture cannot be
                measured.
        """
        self.open_refiner()
        if self._last_refined is None or not np.array_equal(self._last_refined.image, image):
            self._last_refined = self._frame(image.copy())
        return self._pipeline.refine(self._last_refined, corrections)

    @property
    def conditions_missing(self) -> str | None:
        """Why the bundle cannot grade conditions, in plain words; None when it can. Opens the engine."""
        return self._pipeline.conditions_missing

    def grade(self, image: np.ndarray, hair_mask: np.ndarray) -> Conditions:
        """Grade the conditions of one picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            hair_mask: (H, W) uint8, of its analysis.

        Raises:
            ScalpScopeError: the bundle cannot grade, or the engine failed.
        """
        return self._pipeline.classify(self._frame(image), hair_mask)

    @property
    def scalp_condition_missing(self) -> str | None:
        """Why the bundle cannot tell the scalp's condition, in plain words; None when it can."""
        return self._pipeline.classifiers.missing(Task.SCALP_CONDITION)

    def judge_scalp(self, image: np.ndarray, hair_mask: np.ndarray) -> ClassJudgement:
        """The scalp's condition in one picture, one of several. Arguments and errors: see `grade`."""
        return self._pipeline.judge_scalp(self._frame(image), hair_mask)

    def _frame(self, image: np.ndarray) -> Frame:
        if self._profile is not None:
            self._profile.check_resolution(image.shape[1], image.shape[0])
        frame = Frame(self._next_id, image, time.monotonic_ns())
        self._next_id += 1
        return frame


def open_overview_judge(bundle_path: Path | None = None, precision: Precision | None = None) -> PhotoJudge:
    """What stages hair loss in overview photographs: call its `judge` with any number of them.

    Args:
        bundle_path: None = the bundle that ships.
        precision: which of the bundle's files to run; None = the best for this machine.

    Raises:
        ScalpScopeError: the bundle has no such network, or it or its engine is refused.
    """
    bundle = load_bundle(bundle_path or default_bundle_path())
    return Classifiers(bundle, precision).judge(Task.HAIR_LOSS_STAGE)


def analyse_picture(
    image: np.ndarray,
    *,
    scale_um_per_px: float | None = None,
    profile: Profile | None = None,
    bundle_path: Path | None = None,
    classes: HairClasses = TRICHOSCOPY,
    precision: Precision | None = None,
    threads: int = 2,
) -> Analysis:
    """Find and measure the hairs of one picture, (H, W, 3) uint8 RGB. For many, open one `PictureAnalyser`.

    The options are those of `PictureAnalyser`; it raises what that raises.
    """
    analyser = PictureAnalyser(
        scale_um_per_px=scale_um_per_px,
        profile=profile,
        bundle_path=bundle_path,
        classes=classes,
        precision=precision,
        threads=threads,
    )
    return analyser.analyse(image)
