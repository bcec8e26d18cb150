"""What a latency report says: the schema, strict, an unknown key is refused. One run makes one report."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from calibration.errors import ScalpScopeError
from device_app.bench.latency.spread import Ratio, Spread
from device_app.manifest_parts import Strict

SCHEMA: Literal[1] = 1


class Model(str, Enum):
    """What is timed."""

    HAIR = "hair"
    SAM_ENCODER = "sam-encoder"
    SAM_DECODER = "sam-decoder"
    CONDITIONS = "conditions"
    PIPELINE = "pipeline"


class Scenario(str, Enum):
    """How it is driven: MLPerf's two by its own load generator, or frames at the camera's pace."""

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    LIVE = "live"


class Stage(str, Enum):
    """The way of one frame; its order is this order."""

    CAPTURE = "capture"
    DECODE = "decode"
    PREPROCESS = "preprocess"
    HOST_TO_DEVICE = "host_to_device"
    COMPUTE = "compute"
    DEVICE_TO_HOST = "device_to_host"
    POSTPROCESS = "postprocess"
    UPLOAD = "upload"
    PRESENT = "present"


class Subject(Strict):
    """What ran, and what had been asked for.

    Attributes:
        model, scenario: which, and how it was driven.
        bundle: name and version; bundle_sha256: of its manifest.
        model_files: SHA-256 of each network's file, by task.
        engine_files: SHA-256 of each engine that was built for this device, by task; none on ONNX Runtime.
        backend, precision: of the network that is timed; of the hair network for the pipeline.
        asked_backend, asked_precision: what the command named; None: the best for this machine.
        reasons: why this engine, and what was passed over; absent: back ends that this machine has no hardware for.
        fallback: a better one was passed over.
        threads, cores: threads of an engine on the processor; processor cores that everything was held to.
        source, picture_size: the frames, (width, height).
        points: prompt points, for the SAM decoder; None for the others.
        demonstration: the bundle says that it is for demonstration only.
    """

    model: Model
    scenario: Scenario
    bundle: str
    bundle_sha256: str
    model_files: dict[str, str]
    engine_files: dict[str, str] = Field(default_factory=dict)
    backend: str
    precision: str
    asked_backend: str | None = None
    asked_precision: str | None = None
    reasons: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    fallback: bool = False
    threads: int
    cores: int
    source: str
    picture_size: tuple[int, int]
    points: int | None = None
    demonstration: bool = False


class ColdStart(Strict):
    """The first time, which is no part of the other figures.

    Attributes:
        engine_build_s: None: none had to be built in this run.
        load_s: bundle and engine opened and proved by the goldens.
        first_inference_ms: the first run after that.
        first_frame_s: from the command line to the first analysed frame, in a process of its own; None: not measured.
    """

    engine_build_s: float | None = None
    load_s: float
    first_inference_ms: float
    first_frame_s: float | None = None


class LoadGenResult(Strict):
    """What MLPerf's load generator says itself.

    Attributes:
        version: of the package.
        valid: its own verdict; reasons: its own words when it is not.
        percentile: the one that the scenario is judged by, such as 90.
        percentile_ms: that of the measured latencies.
        early_stopping_ms: its estimate with early stopping, the figure to compare; None: too few queries for one.
        queries, samples: how many were answered.
        min_duration_s, duration_s: what was asked for, and how long it ran.
        settings: those of the test, by their names in LoadGen.
        folder: of its own logs, beside the report.
    """

    version: str
    valid: bool
    reasons: tuple[str, ...] = ()
    percentile: float
    percentile_ms: float
    early_stopping_ms: float | None
    queries: int
    samples: int
    min_duration_s: float
    duration_s: float
    settings: dict[str, float | int | str]
    folder: str


class Frames(Strict):
    """What became of the frames in the live scenario.

    Attributes:
        captured, analysed, dropped: counted; dropped by cause.
        reconciles: captured = analysed + dropped.
        captured_per_s: the source's pace.
    """

    captured: int
    analysed: int
    dropped: dict[str, int]
    reconciles: bool
    captured_per_s: float


class MachineSample(Strict):
    """The machine at one moment. None, or no key, where it does not say.

    Attributes:
        at_s: seconds since the first timed frame; negative before it.
        cpu_mhz: mean over the cores that are used; gpu_mhz, memory_mhz: clocks.
        temperatures_c, power_w: by the sensor's name.
        throttled: what holds the clocks down, in words; empty while nothing does.
        own_cores, other_cores: how many cores this process and its children, and everybody else, kept busy since the
            sample before.
        free_memory_mib: what programs may still take.
    """

    at_s: float
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    memory_mhz: float | None = None
    temperatures_c: dict[str, float] = Field(default_factory=dict)
    power_w: dict[str, float] = Field(default_factory=dict)
    throttled: tuple[str, ...] = ()
    own_cores: float | None = None
    other_cores: float | None = None
    free_memory_mib: float | None = None


class Machine(Strict):
    """The machine before, during and after.

    Attributes:
        identity: by name, such as processor, cores, memory, board, l4t, jetpack, kernel, python, gpu, driver, cuda,
            tensorrt, onnxruntime, opencv, power_mode. What there is none of is not here.
        absent: what this machine does not tell, with the reason.
        before, after: samples at rest.
        during: samples while it ran, in order.
        problems: what moved or held it down meanwhile, in words: throttling, clocks, other programs.
    """

    identity: dict[str, str]
    absent: dict[str, str]
    before: MachineSample
    during: tuple[MachineSample, ...]
    after: MachineSample
    problems: tuple[str, ...] = ()


class Harness(Strict):
    """What measuring costs.

    Attributes:
        mark_us: what one time stamp takes, in microseconds, measured in this run.
        shortest_stage: the stage with the least median; share: of it that the marks take, 0 to 1.
    """

    mark_us: float
    shortest_stage: str
    share: float


class Quality(Strict):
    """What the engine that was timed computes, against FP32: the goldens of the bundle, and nothing tuned on them.

    Attributes:
        pictures: how many goldens, and frames of the run where an FP32 network answered them too.
        mask_dice_median, mask_dice_worst: of the hair masks.
        diameter_shift_px: median over the hairs that both find of |diameter - FP32's|; None without such hairs.
        grade_agreement: share of grades alike, 0 to 1; None for a network without grades.
        feature_difference: mean relative difference of an encoder's features; None for the others.
        passed: within the limits; misses: the figures beyond them, in words.
    """

    pictures: int
    mask_dice_median: float | None = None
    mask_dice_worst: float | None = None
    diameter_shift_px: float | None = None
    grade_agreement: float | None = None
    feature_difference: float | None = None
    passed: bool
    misses: tuple[str, ...] = ()


class Peer(Strict):
    """The same frames through what people would otherwise use, by turns with ours.

    Attributes:
        name: such as ``pytorch eager``; what: how it was run, in a sentence.
        network: its network alone; whole: with what comes before and after it.
        network_ratio, whole_ratio: its median over ours.
        missing: why it was not run; empty when it was.
    """

    name: str
    what: str
    network: Spread | None = None
    whole: Spread | None = None
    network_ratio: Ratio | None = None
    whole_ratio: Ratio | None = None
    missing: str = ""


class Verdict(Strict):
    """Whether the figures count.

    Attributes:
        valid: they do.
        reasons: why not, one sentence each.
        notes: what a reader should know though they count.
    """

    valid: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class LatencyReport(Strict):
    """One run.

    Attributes:
        software, created, command: version, local time in ISO 8601 with its offset, command line.
        subject, machine, cold_start, harness, quality, verdict: see there.
        stages: the spread of each stage that this run has; absent_stages: why it does not have the others.
        details: the spread of finer parts, such as ``measure``, by name.
        end_to_end: the spread of whole frames, each measured from its first stage to its last, never a sum of means.
        throughput_per_s: frames finished over the time that it took.
        warm_up: frames before the timed ones.
        measured_s: how long the timed part took.
        loadgen: MLPerf's own result; None for the live scenario. frames: None for the others.
        peers: what else ran on the same frames.
        raw: file name of the times of every frame, JSONL, beside this report.
    """

    schema_version: Literal[1] = SCHEMA
    software: str
    created: str
    command: str
    subject: Subject
    stages: dict[Stage, Spread]
    absent_stages: dict[Stage, str]
    details: dict[str, Spread] = Field(default_factory=dict)
    end_to_end: Spread
    throughput_per_s: float = Field(gt=0)
    warm_up: int
    measured_s: float
    cold_start: ColdStart
    loadgen: LoadGenResult | None = None
    frames: Frames | None = None
    machine: Machine
    harness: Harness
    quality: Quality | None = None
    peers: tuple[Peer, ...] = ()
    verdict: Verdict
    raw: str


def read_report(path: Path) -> LatencyReport:
    """Read a report.

    Raises:
        ScalpScopeError: it is not there, or no report of this version.
    """
    try:
        return LatencyReport.model_validate_json(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ScalpScopeError(f"The report {path} cannot be read: {reason}.", "Check the path.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ScalpScopeError(
            f"{path} is no latency report of this version of ScalpScope ({where}: {first['msg']}).",
            "Name a report.json that `scalpscope bench` wrote.",
        ) from error


def in_order(stages: Mapping[Stage, Spread]) -> tuple[Stage, ...]:
    """The stages of a mapping in the order in which a frame goes through them."""
    return tuple(stage for stage in Stage if stage in stages)
