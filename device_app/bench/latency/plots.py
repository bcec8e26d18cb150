"""The plots of the page, as SVG that stands in the page itself and takes its colours from it, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bench.latency.frames import FrameTimes
from device_app.bench.latency.report import MachineSample, Stage
from device_app.bench.latency.spread import PERCENTILES

# Colours that nothing else has; each becomes a variable of the page's style when the SVG is written.
_INK, _SOFT, _GRID, _OURS, _OTHER, _THIRD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
_VARIABLES = {
    _INK: "--ink",
    _SOFT: "--soft",
    _GRID: "--line",
    _OURS: "--ours",
    _OTHER: "--other",
    _THIRD: "--third",
}
_WIDTH_IN, _HEIGHT_IN = 4.0, 2.1  # a card of the page; on a phone it is as wide as the screen and still can be read
_STYLE = {
    "svg.fonttype": "none",  # text stays text: the page's own font, and it can be searched
    "svg.hashsalt": "scalpscope",
    "text.parse_math": False,  # a sensor may have any name
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _GRID,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "grid.color": _GRID,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.constrained_layout.use": True,
}
_MOST_DOTS, _BINS = 1500, 240
_LINES = (_OURS, _OTHER, _THIRD)
_CURVE_ENDS = 0.9995  # a little beyond p99.9


def check_plots() -> None:
    """Whether plots can be drawn here. Raises `ScalpScopeError` when matplotlib is missing or cannot be loaded."""
    _figure_class()


def latency_over_time(frames: Sequence[FrameTimes], samples: Sequence[MachineSample]) -> str:
    """Each frame's time over the time of the run; beneath it the clocks and the temperatures, where they are known.

    Args:
        frames: at least one.
        samples: of the machine while it ran.
    """
    at_s = np.array([frame.at_s for frame in frames])
    whole_ms = np.array([frame.end_to_end_ms for frame in frames])
    limit_ms = upper_limit(whole_ms)
    strips = [strip for strip in (_clocks(samples), _temperatures(samples)) if strip[1]]

    def draw(figure: Any) -> None:
        heights = [2.5] + [1.0] * len(strips)
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        _draw_times(axes[0], at_s, whole_ms, limit_ms)
        for place, (unit, lines) in enumerate(strips, 1):
            for colour, (name, moments, values) in zip(_LINES, lines, strict=False):
                axes[place].plot(moments, values, color=colour, linewidth=1, label=name)
            axes[place].set_ylabel(unit)
            axes[place].margins(y=0.15)
            axes[place].locator_params(axis="y", nbins=3)
            # Above the lines: inside it would lie on them.
            axes[place].legend(
                loc="lower right", bbox_to_anchor=(1, 0.97), ncols=3, borderaxespad=0, handlelength=1.2, columnspacing=1
            )
        axes[-1].set_xlabel("seconds since the first timed frame")

    told = f"Time of each of {len(frames)} frames over {at_s[-1] - at_s[0]:.0f} seconds"
    told += f", between {whole_ms.min():.3g} and {whole_ms.max():.3g} ms, median {np.median(whole_ms):.3g} ms."
    for unit, lines in strips:
        told += " " + "; ".join(f"{name} {values.min():.4g} to {values.max():.4g} {unit}" for name, _, values in lines)
        told += "."
    return _svg("time", told, draw, _HEIGHT_IN if len(strips) < 2 else 2.6)


def histogram(whole_ms: Sequence[float] | np.ndarray, earlier_ms: Sequence[float] | np.ndarray | None = None) -> str:
    """How the times of the frames are distributed, in milliseconds; an earlier run's beside them as a line."""
    values = np.asarray(whole_ms, np.float64)
    earlier = None if earlier_ms is None else np.asarray(earlier_ms, np.float64)
    both = values if earlier is None else np.concatenate([values, earlier])
    low, high = float(both.min()), max(upper_limit(own) for own in (values, earlier) if own is not None)
    edges = np.linspace(low, high if high > low else low + 0.001, 51)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.hist(np.minimum(values, edges[-1]), edges, color=_OURS, weights=_shares(values), label="this run")
        if earlier is not None:
            weights = _shares(earlier)
            clipped = np.minimum(earlier, edges[-1])
            axes.hist(clipped, edges, histtype="step", color=_OTHER, weights=weights, label="earlier run")
            axes.legend(loc="upper right", borderaxespad=0.1)
        for name in ("p50", "p99"):
            at = float(np.percentile(values, PERCENTILES[name], method="inverted_cdf"))
            axes.axvline(min(at, edges[-1]), color=_INK, linewidth=0.7, linestyle=(0, (3, 2)))
            axes.annotate(
                name, (min(at, edges[-1]), 0.98), (2, 0), ("data", "axes fraction"), "offset points", va="top"
            )
        if beyond := int(np.count_nonzero(values > edges[-1])):
            axes.set_title(f"{_counted(beyond)} slower than {edges[-1]:.3g} ms in the last bar", loc="right")
        axes.set_ylim(0, 1.14 * axes.get_ylim()[1])  # room for the names above the bars
        axes.set_xlabel("end to end, ms")
        axes.set_ylabel("% of the frames")
        axes.grid(axis="x", visible=False)

    told = f"Histogram of the end-to-end times of {len(values)} frames, most between "
    told += " and ".join(f"{at:.3g}" for at in np.percentile(values, (5, 95))) + " ms."
    return _svg("histogram", told, draw)


def percentile_curve(
    whole_ms: Sequence[float] | np.ndarray, earlier_ms: Sequence[float] | np.ndarray | None = None
) -> str:
    """The time that so many of the frames stay within, from the fastest to p99.9; the axis opens the slow end out."""
    values = np.asarray(whole_ms, np.float64)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        pairs = [(values, _OURS, "this run")]
        if earlier_ms is not None:
            pairs.append((np.asarray(earlier_ms, np.float64), _OTHER, "earlier run"))
        for own, colour, name in pairs:
            shares = np.minimum(np.arange(1, own.size + 1) / own.size, _CURVE_ENDS)
            # Nearest rank, as in the table: a share is reached at the value that completes it.
            levels = np.unique(np.concatenate([np.linspace(0.01, 0.9, 90), 1 - np.logspace(-1, -3.3, 120)]))
            levels = levels[levels <= shares[-1]]
            ranks = np.percentile(own, 100 * levels, method="inverted_cdf")
            axes.plot(-np.log10(1 - levels), ranks, color=colour, linewidth=1.4, drawstyle="steps-post", label=name)
        if earlier_ms is not None:
            axes.legend(loc="upper left", borderaxespad=0.1)
        marks = list(PERCENTILES.values())
        axes.set_xticks([-np.log10(1 - mark / 100) for mark in marks], [f"p{mark:g}" for mark in marks])
        axes.set_xlim(0, -np.log10(1 - _CURVE_ENDS))
        everything = np.concatenate([own for own, _, _ in pairs])
        axes.set_ylim(*_range(everything, max(float(np.quantile(own, _CURVE_ENDS)) for own, _, _ in pairs)))
        axes.set_ylabel("end to end, ms")

    told = "Percentiles of the end-to-end time: " + ", ".join(
        f"p{mark:g} {np.percentile(values, mark, method='inverted_cdf'):.3g} ms" for mark in PERCENTILES.values()
    )
    return _svg("percentiles", told + ".", draw)


def waterfall(frames: Sequence[FrameTimes]) -> str:
    """The stages of two real frames one after the other: the one at the median of the whole time, and the one at p99.

    Real frames, because medians of stages do not add up to a frame. What lies in no stage is a row of its own.
    """
    typical, slow = frame_at(frames, 50), frame_at(frames, 99)
    stages = [stage for stage in Stage if stage in typical.stages_ms or stage in slow.stages_ms]
    rest = [frame.end_to_end_ms - sum(frame.stages_ms.values()) for frame in (typical, slow)]
    names = [stage_name(stage) for stage in stages]
    if max(part / frame.end_to_end_ms for part, frame in zip(rest, (typical, slow), strict=True)) > 0.005:
        names.append("between the stages")
    names.append("end to end")

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        rows = np.arange(len(names))
        for offset, frame, between, colour, label in (
            (-0.19, typical, rest[0], _OURS, "the frame at p50"),
            (0.19, slow, rest[1], _OTHER, "the frame at p99"),
        ):
            lengths = [frame.stages_ms.get(stage, 0.0) for stage in stages]
            if len(names) > len(stages) + 1:
                lengths.append(max(0.0, between))
            starts = [0.0, *np.cumsum(lengths)[:-1]]
            axes.barh(
                rows + offset, [*lengths, frame.end_to_end_ms], 0.34, [*starts, 0.0], color=colour, label=label, lw=0
            )
        axes.set_yticks(rows, names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlabel("ms since the frame began")
        axes.grid(axis="y", visible=False)
        # Above the bars: wherever it lay inside, some run's bars would lie there too.
        figure.legend(loc="outside upper right", ncols=2, handlelength=1, columnspacing=1.2)

    told = "Stages of the frame at the median: "
    told += ", ".join(f"{stage_name(stage)} {ms:.3g} ms" for stage, ms in typical.stages_ms.items())
    told += f"; end to end {typical.end_to_end_ms:.3g} ms. The frame at p99 took {slow.end_to_end_ms:.3g} ms."
    return _svg("stages", told, draw)


def stage_name(stage: Stage) -> str:
    """As a person reads it."""
    return stage.value.replace("_", " ")


def frame_at(frames: Sequence[FrameTimes], percentile: float) -> FrameTimes:
    """The frame whose whole time is this percentile, by the nearest rank."""
    ordered = sorted(frames, key=lambda frame: frame.end_to_end_ms)
    return ordered[max(0, int(np.ceil(len(ordered) * percentile / 100 - 1e-9)) - 1)]


def upper_limit(values_ms: np.ndarray) -> float:
    """Up to where times are drawn: all of them, unless a few that are far off would press the others flat."""
    usual = 2.0 * float(np.percentile(values_ms, 99))
    return float(values_ms.max()) if values_ms.max() <= usual else usual


def _range(values_ms: np.ndarray, limit_ms: float) -> tuple[float, float]:
    """From the least to the limit, and never so narrow that the noise of a steady run looks large."""
    median = float(np.median(values_ms))
    low, high = min(float(values_ms.min()), 0.9 * median), max(limit_ms, 1.1 * median)
    return low - 0.04 * (high - low), high + 0.06 * (high - low)


def _draw_times(axes: Any, at_s: np.ndarray, whole_ms: np.ndarray, limit_ms: float) -> None:
    if len(at_s) <= _MOST_DOTS:
        size = 2.2 if len(at_s) > 500 else 3.5
        axes.plot(at_s, np.minimum(whole_ms, limit_ms), ".", color=_OURS, markersize=size, markeredgewidth=0)
    else:
        # So many frames are a black bar: each of some hundred slices of the time shows its spread and its slowest.
        parts = [part for part in np.array_split(np.arange(len(at_s)), _BINS) if len(part)]
        middle = [at_s[part].mean() for part in parts]
        low, median, high = np.array([np.percentile(whole_ms[part], (5, 50, 95)) for part in parts]).T
        slowest = np.array([whole_ms[part].max() for part in parts])
        axes.fill_between(middle, low, np.minimum(high, limit_ms), color=_OURS, alpha=0.3, linewidth=0)
        axes.plot(middle, median, color=_OURS, linewidth=1)
        axes.plot(middle, np.minimum(slowest, limit_ms), ".", color=_OTHER, markersize=2, markeredgewidth=0)
        axes.set_title("median, 5 to 95 % of the frames, and the slowest", loc="left", color=_SOFT)
    if beyond := int(np.count_nonzero(whole_ms > limit_ms)):
        far = whole_ms > limit_ms
        axes.plot(at_s[far], np.full(beyond, limit_ms), "^", color=_OTHER, markersize=4, clip_on=False)
        axes.set_title(f"▲ {_counted(beyond)} slower, up to {whole_ms.max():.3g} ms", loc="right")
    axes.set_ylim(*_range(whole_ms, limit_ms))
    axes.set_ylabel("end to end, ms")


_Strip = tuple[str, list[tuple[str, np.ndarray, np.ndarray]]]


def _clocks(samples: Sequence[MachineSample]) -> _Strip:
    getters: dict[str, Callable[[MachineSample], float | None]] = {
        "CPU": lambda sample: sample.cpu_mhz,
        "GPU": lambda sample: sample.gpu_mhz,
        "memory": lambda sample: sample.memory_mhz,
    }
    return "MHz", [line for name, get in getters.items() if (line := _line(name, samples, get)) is not None]


def _temperatures(samples: Sequence[MachineSample]) -> _Strip:
    """The hottest sensors, as many as there are colours."""
    names = dict.fromkeys(name for sample in samples for name in sample.temperatures_c)

    def of(name: str) -> Callable[[MachineSample], float | None]:
        return lambda sample: sample.temperatures_c.get(name)

    lines = [_line(name, samples, of(name)) for name in names]
    known = sorted((line for line in lines if line is not None), key=lambda line: -float(line[2].max()))
    return "°C", known[: len(_LINES)]


def _line(
    name: str, samples: Sequence[MachineSample], get: Callable[[MachineSample], float | None]
) -> tuple[str, np.ndarray, np.ndarray] | None:
    known = [(sample.at_s, value) for sample in samples if (value := get(sample)) is not None]
    if len(known) < 2:
        return None
    moments, values = np.array(known, np.float64).T
    return name, moments, values


def _shares(values: np.ndarray) -> np.ndarray:
    return np.full(values.size, 100.0 / values.size)


def _counted(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ScalpScopeError(
            f"The page's plots need matplotlib, which is not installed or cannot be loaded: {error}.",
            "Install it with pip install 'scalpscope[bench]'.",
        ) from error
    return Figure


def _svg(name: str, told: str, draw: Callable[[Any], None], height_in: float = _HEIGHT_IN) -> str:
    """An <svg> element; `told` is what it shows in words, `name` is unique in the page."""
    figure_class = _figure_class()
    from matplotlib import style

    with style.context(["default", _STYLE]):  # not what this machine's own matplotlibrc says
        figure = figure_class(figsize=(_WIDTH_IN, height_in))
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    # Its style would be the whole page's; the page has the same for its plots.
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;?\s*", "", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # Several of them stand in one page, so each has names of its own.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    opening = f'<svg role="img" aria-label="{escape(told)}" class="plot"'
    head, rest = text.split(">", 1)
    kept = " ".join(re.findall(r'(?:viewBox|xmlns(?::\w+)?)="[^"]*"', head))
    return f"{opening} {kept}>{rest.strip()}"
