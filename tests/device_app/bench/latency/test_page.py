"""The page: whole, alone in the world, readable in light and dark, and true to the report."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bench.latency.page import page_of, write_page
from device_app.bench.latency.page_parts import (
    comparison_part,
    demonstration_part,
    machine_part,
    milliseconds,
    peers_part,
    quality_part,
    verdict_part,
)
from device_app.bench.latency.page_style import STYLE
from device_app.bench.latency.plots import frame_at, histogram, latency_over_time, upper_limit
from device_app.bench.latency.report import (
    Frames,
    Machine,
    MachineSample,
    Model,
    Peer,
    Quality,
    Scenario,
    Stage,
    Verdict,
)
from device_app.bench.latency.spread import Ratio, spread_of
from tests.support.command import ROOT, environment
from tests.support.latency_reports import LOADGEN, MACHINE, SUBJECT, made_up_frames, made_up_report

VOID = {"meta", "br"}
NASTY = '<b onload="x">&\'µ</b>'


class Page(HTMLParser):
    """What a page is made of; fails where a tag is closed that was not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._open:
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def made_up(count: int = 300, seed: int = 0, slower: float = 1.0):
    rng = np.random.default_rng(seed)
    return made_up_frames(
        [
            {
                "preprocess": 3 + rng.random(),
                "compute": slower * (40 + rng.normal(0, 1)),
                "postprocess": 12 + rng.random(),
            }
            for _ in range(count)
        ],
        {"network": 41.0, "measure": 11.5},
    )


@pytest.fixture(scope="module")
def whole() -> tuple[Page, str]:
    """A page with everything, of a machine that tells everything, with words that are not HTML."""
    frames, earlier = made_up(), made_up(200, 1, 1.2)
    samples = tuple(
        MachineSample(
            at_s=float(second),
            cpu_mhz=2000 + second,
            gpu_mhz=1300,
            temperatures_c={f"t{i}{NASTY}": 40.0 + i + second for i in range(9)},
            power_w={"in": 20.5},
            throttled=(NASTY,),
            other_cores=0.25,
        )
        for second in range(10)
    )
    machine = Machine(
        identity={"processor": NASTY}, absent={"fan": NASTY}, before=samples[0], during=samples, after=samples[-1]
    )
    spread, ratio = spread_of([100.0, 200.0, 300.0]), Ratio(ratio=8.5, low=8.25, high=8.75)
    peers = (
        Peer(name="eager", what=NASTY, network=spread, whole=spread, network_ratio=ratio, whole_ratio=ratio),
        Peer(name="rembg", what="", missing=NASTY),
    )
    report = made_up_report(
        frames,
        SUBJECT.model_copy(update={"bundle": NASTY, "reasons": (NASTY,), "absent": (NASTY,), "demonstration": True}),
        machine=machine,
        peers=peers,
        loadgen=LOADGEN.model_copy(update={"valid": False, "reasons": (NASTY,)}),
        quality=Quality(pictures=2, mask_dice_median=0.9, mask_dice_worst=0.8, passed=False, misses=(NASTY,)),
        verdict=Verdict(valid=False, reasons=(f"Too short {NASTY}",), notes=(NASTY,)),
        command=NASTY,
        absent_stages={Stage.UPLOAD: "no window", Stage.PRESENT: "no window", Stage.CAPTURE: NASTY},
    )
    book = Frames(captured=9, analysed=5, dropped={NASTY: 4}, reconciles=True, captured_per_s=30.0)
    report = report.model_copy(update={"frames": book})
    text = page_of(report, frames, (made_up_report(earlier), earlier))
    return Page(text), text


def test_a_run_that_counts_is_said_to_be_faster():
    earlier, frames = (made_up_frames([{"compute": ms + n % 5 / 10} for n in range(300)]) for ms in (20.0, 10.0))
    page = Page(page_of(made_up_report(frames), frames, (made_up_report(earlier), earlier)))
    assert page.words.count("faster") == 2  # computing, and by it the whole frame


def test_the_page_is_alone_in_the_world(whole):
    page, text = whole
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not page.attributes("src")
    pointed = page.attributes("href") + page.attributes("xlink:href") + re.findall(r"url\(([^)]*)\)", text)
    assert pointed and all(target.startswith("#") for target in pointed)
    names = page.attributes("id")
    assert len(set(names)) == len(names)
    assert {target[1:] for target in pointed} <= set(names)
    assert "default-src 'none'" in page.attributes("content")[-1]
    # An address is there only as the name of SVG's own language.
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_what_came_from_outside_is_words_and_never_html(whole):
    page, _ = whole
    assert not any("onload" in attrs for _, attrs in page.tags)
    # Bundle, two of its reasons, machine (3), peers (2), LoadGen, frames, quality, verdict (2), command, absent stage.
    assert page.text.count(NASTY) >= 13


def test_the_page_says_what_the_report_says(whole):
    page, text = whole
    assert text.startswith("<!DOCTYPE html>") and "<title>INVALID: hair, single-stream" in text
    assert "INVALID" in page.words and f"Too short {NASTY}" in page.text
    assert "Demonstration networks: not for use on people." in page.text
    for words in ("no window", "upload, present", "8.50x", "(8.25 to 8.75)", "early stopping", "30.0 a second", "0.25"):
        assert words in page.text, words
    assert "does not count" in page.words  # beside the earlier run: this one is INVALID
    assert "faster" not in page.words
    # Six of the nine sensors, the hottest.
    assert [i for i in range(9) if f"t{i}{NASTY}, °C" in page.text] == [3, 4, 5, 6, 7, 8]


def test_every_plot_tells_a_reader_who_does_not_see_it(whole):
    page, _ = whole
    plots = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(plots) == 4 and all(plot["role"] == "img" and plot["viewbox"] for plot in plots)
    told = [plot["aria-label"] or "" for plot in plots]
    median = spread_of([frame.end_to_end_ms for frame in made_up()]).p50_ms
    assert f"median {median:.3g} ms" in told[0] and "°C" in told[0] and "GPU" in told[0]
    assert f"p50 {median:.3g} ms" in told[2]
    assert "compute" in told[3] and f"end to end {median:.3g} ms" in told[3]


def test_the_table_holds_each_stage_in_order(whole):
    page, _ = whole
    spread = spread_of([frame.stages_ms[Stage.COMPUTE] for frame in made_up()])
    place = page.words.index("compute", page.words.index("Stages"))
    values = [spread.min_ms, spread.mean_ms, spread.p50_ms, spread.p90_ms, spread.p95_ms]
    values += [spread.p99_ms, spread.p99_9_ms, spread.max_ms]
    told = [*map(milliseconds, values), f"{100 * spread.cv:.1f} %", "300"]
    assert page.words[place + 1 : place + 11] == told


def test_colours_are_the_pages_own_and_can_be_read(whole):
    _, text = whole
    light, dark = STYLE.split("prefers-color-scheme: dark")
    schemes = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    assert set(schemes[0]) == set(schemes[1])
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= set(schemes[0])
    body = text.partition("</style>")[2]
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", body), "a plot has a colour that does not follow the scheme"
    on_card = ("ink", "soft", "ours", "other", "third", "good", "bad")
    pairs = [*product(on_card, ("card",)), ("ink", "page"), ("soft", "page"), ("warn", "warn-back")]
    pairs += list(product(("ink", "soft", "good"), ("good-back",))) + list(
        product(("ink", "soft", "bad"), ("bad-back",))
    )
    for scheme in schemes:
        low = {(front, back) for front, back in pairs if contrast(scheme[front], scheme[back]) < 4.5}
        assert not low


def contrast(first: str, second: str) -> float:
    """By WCAG 2.2, 1 to 21."""
    levels = []
    for colour in (first, second):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(levels) / min(levels)


def test_a_valid_run_on_a_machine_that_tells_little(tmp_path):
    frames = made_up_frames([{"compute": 5.0}])
    report = made_up_report(frames, quality=None)
    write_page(report, frames, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "VALID" in page.words and "These figures count." in page.words
    assert "nothing here says what the speed costs" in page.text and "gpu: no NVIDIA GPU" in page.text
    assert "Demonstration" not in page.text and demonstration_part(report.subject) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_runs_that_do_not_compare_leave_no_page(tmp_path):
    frames = made_up_frames([{"compute": 5.0}] * 3)
    other = made_up_report(frames, SUBJECT.model_copy(update={"model": Model.CONDITIONS}))
    with pytest.raises(ScalpScopeError, match="do not compare"):
        write_page(made_up_report(frames), frames, tmp_path / "report.html", (other, frames))
    with pytest.raises(ScalpScopeError, match="does not exist"):
        write_page(made_up_report(frames), frames, tmp_path / "no" / "report.html")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tests.support.latency_reports import made_up_frames, made_up_report\n"
        "from device_app.bench.latency.page import write_page\n"
        "from pathlib import Path\n"
        "frames = made_up_frames([{'compute': 5.0}])\n"
        f"write_page(made_up_report(frames), frames, Path({str(tmp_path / 'report.html')!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert "ScalpScopeError: The page's plots need matplotlib" in done.stderr
    assert "scalpscope[bench]" in done.stderr and not list(tmp_path.iterdir())


def test_many_frames_are_drawn_as_slices_and_far_ones_are_told():
    few, many = made_up(1000), made_up(20000)
    assert "the slowest" not in latency_over_time(few, ()) and "the slowest" in latency_over_time(many, ())
    assert len(latency_over_time(many, ())) < 150_000
    hiccup = [*made_up_frames([{"compute": 5.0}] * 200), *made_up_frames([{"compute": 900.0}])]
    assert "1 frame slower, up to 900 ms" in latency_over_time(hiccup, ())
    assert "1 frame slower than 10 ms in the last bar" in histogram([frame.end_to_end_ms for frame in hiccup])


def test_a_steady_run_and_a_single_frame_can_be_drawn():
    steady = made_up_frames([{"compute": 5.0}] * 50)
    assert "<svg" in latency_over_time(steady, MACHINE.during) and "<svg" in histogram([5.0] * 50, [4.0])
    assert Page(histogram([5.0])).attributes("role") == ["img"]


TIMES = st.lists(st.floats(0.01, 1e4, allow_nan=False), min_size=1, max_size=60)


@given(TIMES, st.sampled_from([50.0, 99.0]))
def test_the_frame_at_a_percentile_is_a_frame_of_the_tables_percentile(times, percentile):
    frames = made_up_frames([{"compute": ms} for ms in times])
    name = {50.0: "p50_ms", 99.0: "p99_ms"}[percentile]
    assert frame_at(frames, percentile).end_to_end_ms == getattr(spread_of(times), name)


@given(TIMES)
def test_the_limit_of_a_plot_leaves_out_a_hundredth_at_most(times):
    values = np.array(times)
    assert np.count_nonzero(values > upper_limit(values)) <= max(1, 0.01 * values.size)
    assert upper_limit(values) <= values.max()


@given(st.floats(1e-4, 1e6))
def test_milliseconds_keep_three_figures(value):
    assert float(milliseconds(value)) == pytest.approx(value, rel=0.006, abs=0.000006)


@given(st.text(min_size=1).filter(str.strip))
def test_any_words_come_back_as_they_were(words):
    page = Page(verdict_part(Verdict(valid=False, reasons=(words,))))
    assert [tag for tag, _ in page.tags] == ["section", "p", "div", "ul", "li"]
    assert page.words[1:] == [words.strip()]


def test_a_part_that_is_not_there_takes_no_room():
    assert peers_part(()) == ""
    assert "not run: no torch" in peers_part([Peer(name="eager", what="w", missing="no torch")])
    quiet = MACHINE.model_copy(update={"problems": ("clocks moved",)})
    assert "clocks moved" in machine_part(quiet) and "GPU, MHz" not in machine_part(quiet)
    told = quality_part(Quality(pictures=1, feature_difference=0.034, passed=True))
    assert "3.40 % of their size" in told and "mask Dice" not in told


def test_a_slower_run_is_called_slower():
    from device_app.bench.latency.compare import Measured, compare

    before, after = made_up(), made_up(seed=3, slower=1.3)
    reports = [
        made_up_report(frames, SUBJECT.model_copy(update={"scenario": Scenario.LIVE})) for frames in (before, after)
    ]
    comparison = compare(Measured(reports[0], before), Measured(reports[1], after))
    page = Page(comparison_part(comparison, reports[0]))
    assert page.words.count("slower") == 2 and "faster" not in page.words
    assert "In the live scenario the source's pace is part of the times." in page.words
