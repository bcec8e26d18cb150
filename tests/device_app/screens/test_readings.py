"""A figure stands with its unit and its interval, or it is a dash with its reason."""

from __future__ import annotations

import dataclasses
import re

import pytest

from device_app.screens.readings import DASH, Doubt, Made, histogram, readings
from device_app.screens.texts import text
from device_app.vision.hairs import TRICHOSCAN, Figure, HairClass
from tests.support.analyses import make_analysis, make_frame


def test_figures_have_value_unit_and_interval() -> None:
    analysis = make_analysis(make_frame())
    density, diameter, thin = readings(analysis, None)
    assert (density.unit, diameter.unit, thin.unit) == ("/cm²", "µm", "%")
    for reading, figure, factor in (
        (density, analysis.measurements.density_per_cm2, 1),
        (diameter, analysis.measurements.mean_diameter_um, 1),
        (thin, analysis.measurements.thin_fraction, 100),
    ):
        assert figure.value is not None
        assert float(reading.value) == pytest.approx(factor * figure.value, abs=0.51)
        assert re.fullmatch(r"± [\d.]+|[\d.]+ – [\d.]+", reading.interval)
        assert not reading.reason


@pytest.mark.parametrize("doubt", list(Doubt))
def test_a_doubt_takes_every_number_away(doubt: Doubt) -> None:
    for reading in readings(make_analysis(make_frame()), doubt):
        assert reading.value == DASH
        assert reading.reason == text(doubt.value)
        assert not reading.unit
        assert not reading.interval


def test_without_an_analysis_or_a_scale_there_are_dashes() -> None:
    assert all(reading.value == DASH for reading in readings(None, None))
    for reading in readings(make_analysis(make_frame(), scale_um_per_px=None), None):
        assert (reading.value, reading.reason) == (DASH, text("reason_no_scale"))


def test_one_hair_gives_no_diameter_without_an_interval() -> None:
    analysis = make_analysis(make_frame())
    alone = dataclasses.replace(analysis.measurements, mean_diameter_um=Figure(60.0, reason="one hair: no interval"))
    _, diameter, _ = readings(dataclasses.replace(analysis, measurements=alone), None)
    assert (diameter.value, diameter.reason) == (DASH, text("reason_too_few"))


def test_no_hair_gives_a_density_or_a_reason_but_no_diameter() -> None:
    _, diameter, _ = readings(make_analysis(make_frame(), widths_px=()), None)
    assert (diameter.value, diameter.reason) == (DASH, text("reason_no_hairs"))


def test_the_cut_of_the_thin_hairs_is_that_of_the_named_classes() -> None:
    assert "30" in readings(make_analysis(make_frame()), None)[2].label
    assert "40" in readings(make_analysis(make_frame(), classes=TRICHOSCAN), None)[2].label


def test_the_histogram_holds_every_measured_hair_in_its_class() -> None:
    measurements = make_analysis(make_frame(), widths_px=(5, 9, 9, 18, 20, 40), scale_um_per_px=4.0).measurements
    bars = histogram(measurements)
    assert bars is not None
    assert bars.totals == {
        HairClass.VELLUS: measurements.vellus_count,
        HairClass.INTERMEDIATE: measurements.intermediate_count,
        HairClass.TERMINAL: measurements.terminal_count,
    }
    assert sum(map(sum, bars.counts)) == measurements.hair_count == 6
    assert sum(bars.counts[-1]) == 1  # 160 µm: the last bin takes all above
    assert bars.highest >= 2


def test_there_is_no_histogram_without_a_scale() -> None:
    assert histogram(make_analysis(make_frame(), scale_um_per_px=None).measurements) is None


def test_every_label_says_how_the_mask_was_made() -> None:
    analysis = make_analysis(make_frame())
    labels = {made: [reading.label for reading in readings(analysis, None, made)] for made in Made}
    assert labels[Made.COARSE] == [reading.label for reading in readings(analysis, None)]
    for made, word in ((Made.REFINED, "refined"), (Made.CORRECTED, "corrected")):
        for plain, label in zip(labels[Made.COARSE], labels[made]):
            assert label.startswith(plain) and word in label
