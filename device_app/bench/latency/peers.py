"""The same frames through what people would otherwise use, by turns with ours, in one run: ratios, not seconds.

The peers need the upper floors (torch), so they live in a child process, ``python -m export.peers ORDER``. What goes
between: lines of JSON. The child first says of every peer ``{"peer": name, "what": how}`` or ``{"peer": name,
"missing": why}``, then ``{"ready": true}``. A question is ``{"peer": name, "frame": number}``; the answer
``{"network_ms": ms, "whole_ms": ms}`` or ``{"missing": why}``. It ends when its standard input does.

**Fairness.** One turn after the other on the same frames, the same cores, the same number of threads; while one side
works, the other rests. In every turn the frame is done twice and the second time counts, on both sides, so that nobody
pays for the caches that the one before left behind. Who comes after whom changes from round to round. Where other
programs were busy meanwhile it is said: PyTorch suffers more from them than ONNX Runtime does, and the ratio flatters.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bench.latency.busy import CpuTime, cpu_time
from device_app.bench.latency.quiet import MOST_OTHER_CORES
from device_app.bench.latency.report import Model, Peer
from device_app.bench.latency.spread import ratio_of_medians, spread_of
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.child_environment import ROOT
from device_app.engines.select import open_engine
from device_app.live.classifier import ConditionGrader
from device_app.vision.masks import hair_mask
from device_app.vision.preprocess import to_network_input

log = logging.getLogger(__name__)

EAGER = "PyTorch eager"
EAGER_GRADED = "PyTorch eager, with grading"
EAGER_PAPER = "PyTorch eager, the paper's U²-Net"
ONNXRUNTIME_FP32 = "ONNX Runtime FP32"
REMBG = "rembg"

FRAMES_NAME = "frames.npz"
SCALE_UM_PER_PX = 3.0
"""The demo's; figures cost the same on any scale."""

_MOST_FRAMES = 8
_OPENS_WITHIN_S, _ANSWERS_WITHIN_S, _ENDS_WITHIN_S = 300.0, 120.0, 5.0
_OPENING_SHARE = 0.2

Ours = Callable[[np.ndarray], tuple[float, float]]
Advance = Callable[[float], None]


ALL = (EAGER, EAGER_GRADED, EAGER_PAPER, ONNXRUNTIME_FP32, REMBG)
"""In the order of the report."""


def names(model: Model) -> tuple[str, ...]:
    """The peers of the pipeline, or of the hair network alone."""
    return tuple(name for name in ALL if model is Model.PIPELINE or name != EAGER_GRADED)


def run_peers(
    frames: Sequence[np.ndarray],
    ours: Ours,
    rounds: int,
    cores: int,
    threads: int,
    checkpoint: Path | None = None,
    advance: Advance = lambda _share: None,
    *,
    bundle: Path | None = None,
    model: Model = Model.PIPELINE,
    wanted: Sequence[str] = ALL,
) -> tuple[Peer, ...]:
    """Time ours and the peers by turns.

    Args:
        frames: (H, W, 3) uint8 RGB each; the first few of them are used.
        ours: does one frame; milliseconds of its network alone, and from picture to result.
        rounds: how many turns everybody has.
        cores: processor cores that this process has been held to; the child holds itself to as many.
        threads: of every network, on both sides.
        checkpoint: weights of the hair network, for the peers that run it; None: those of the bundle's file.
        advance: told which share is done, 0 to 1.
        bundle: whose networks; None: the one that ships.
        model: what `ours` does: `Model.PIPELINE` measures the hairs, `Model.HAIR` ends with the mask, and so do the
            peers.
        wanted: these peers and no others.

    Returns:
        Every peer that was wanted, in the order of `ALL`. What cannot be run here (torch is not installed) is there
        with the reason.

    Raises:
        ScalpScopeError: ours failed, or the bundle is refused. A peer's failure is told in its `missing`.
    """
    loaded = load_bundle(bundle or default_bundle_path())
    frames = [np.ascontiguousarray(frame) for frame in frames[:_MOST_FRAMES]]
    masks = _our_masks(loaded, frames, threads)
    chosen = [name for name in names(model) if name in wanted]
    with contextlib.ExitStack() as stack:
        grader = _grader(loaded, threads) if EAGER_GRADED in chosen else None
        if grader is not None:
            stack.callback(grader.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scalpscope-peers-")))
        arrays: dict[str, Any] = {f"frame_{number}": frame for number, frame in enumerate(frames)}
        arrays |= {f"mask_{number}": mask for number, mask in enumerate(masks)}
        np.savez(folder / FRAMES_NAME, **arrays)
        order = {
            "folder": str(folder),
            "bundle": str(loaded.path.resolve()),
            "cores": cores,
            "threads": threads,
            "measure": model is Model.PIPELINE,
            "checkpoint": None if checkpoint is None else str(checkpoint.resolve()),
            "peers": chosen,
        }
        child = _Child(order)
        stack.callback(child.close)
        found = _opened(child, chosen, advance)
        turns = _Turns(frames, masks, ours, grader)
        watch = _Watch()
        for number in range(rounds):
            turns.take(child, found, number)
            advance(min(1.0, _OPENING_SHARE + (1 - _OPENING_SHARE) * (number + 1) / rounds))
        disturbed = watch.disturbed()
    return tuple(turns.peer(peer, disturbed) for peer in found)


@dataclass
class _Found:
    """What is known of a peer so far; `missing` once it cannot be run (any more)."""

    name: str
    what: str = ""
    missing: str = ""
    network_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)


class _Turns:
    """Whose turn it is on which frame, and what everybody took."""

    def __init__(
        self, frames: Sequence[np.ndarray], masks: Sequence[np.ndarray], ours: Ours, grader: ConditionGrader | None
    ) -> None:
        self._frames, self._masks, self._ours, self._grader = frames, masks, ours, grader
        self._network_ms: list[float] = []
        self._whole_ms: list[float] = []
        self._graded_network_ms: list[float] = []
        self._graded_whole_ms: list[float] = []

    def take(self, child: _Child, found: Sequence[_Found], number: int) -> None:
        """One turn for everybody."""
        frame = number % len(self._frames)
        self._our_turn(frame)
        first = number % max(1, len(found))
        for peer in (*found[first:], *found[:first]):
            if peer.missing:
                continue
            answer = child.ask({"peer": peer.name, "frame": frame}, _ANSWERS_WITHIN_S)
            try:
                network_ms, whole_ms = float(answer["network_ms"]), float(answer["whole_ms"])
            except (KeyError, TypeError, ValueError):
                peer.missing = str(answer.get("missing", "it gave an answer that is none"))
                log.warning("%s left out: %s", peer.name, peer.missing)
                continue
            peer.network_ms.append(network_ms)
            peer.whole_ms.append(whole_ms)

    def peer(self, found: _Found, disturbed: str) -> Peer:
        """The outcome of a peer; `disturbed` says what else the machine did."""
        if found.missing or not found.whole_ms:
            return Peer(name=found.name, what=found.what, missing=found.missing or "it had no turn")
        graded = found.name == EAGER_GRADED
        network_ms = self._graded_network_ms if graded else self._network_ms
        whole_ms = self._graded_whole_ms if graded else self._whole_ms
        return Peer(
            name=found.name,
            what=found.what + disturbed,
            network=spread_of(found.network_ms),
            whole=spread_of(found.whole_ms),
            network_ratio=ratio_of_medians(network_ms, found.network_ms),
            whole_ratio=ratio_of_medians(whole_ms, found.whole_ms),
        )

    def _our_turn(self, frame: int) -> None:
        image = self._frames[frame]
        self._ours(image)
        network_ms, whole_ms = self._ours(image)
        self._network_ms.append(network_ms)
        self._whole_ms.append(whole_ms)
        if self._grader is None:
            return
        self._grader.grade(image, self._masks[frame])
        took_ms = self._grader.grade(image, self._masks[frame]).timings_ms
        self._graded_network_ms.append(network_ms + took_ms["network"])
        self._graded_whole_ms.append(whole_ms + took_ms["total"])


class _Watch:
    """Whether other programs were busy meanwhile."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._began_s, self._before = time.monotonic(), cpu_time(self._cores)

    def disturbed(self) -> str:
        """What to say of it; empty when the machine was quiet, or does not tell."""
        after: CpuTime | None = cpu_time(self._cores)
        if self._before is None or after is None:
            return ""
        others_s = (after.all_s - self._before.all_s) - (after.own_s - self._before.own_s)
        busy = others_s / max(time.monotonic() - self._began_s, 1e-3)
        if busy <= MOST_OTHER_CORES:
            return ""
        return f". This ratio does not count: other programs kept {busy:.1f} of {len(self._cores)} cores busy meanwhile"


class _Child:
    """The process with the peers. It ends with `close`, and by itself when this process does.

    Args:
        order: what it is to do, see `export.peers`.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._said: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "export.peers", json.dumps(order)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
        )

    def ask(self, question: dict[str, Any], within_s: float) -> dict[str, Any]:
        """Its answer; ``missing`` says why there is none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError:
            return {"missing": self._why_gone()}
        return self.listen(within_s)

    def listen(self, within_s: float) -> dict[str, Any]:
        """What it says next. It is killed when that takes longer."""
        output: IO[str] | None = self._process.stdout
        assert output is not None
        late = threading.Event()

        def lose_patience() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(within_s, lose_patience)
        timer.start()
        try:
            line = output.readline()
        finally:
            timer.cancel()
        if not line:
            return {"missing": f"it did not answer within {within_s:.0f} s" if late.is_set() else self._why_gone()}
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        return answer if isinstance(answer, dict) else {"missing": f"it said '{line.strip()[:100]}'"}

    def close(self) -> None:
        """End it. Safe to call twice."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def _why_gone(self) -> str:
        try:
            code = self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            return "its process no longer answers"
        self._said.seek(0)
        last = self._said.read().strip().splitlines()[-1:]
        return f"its process ended with code {code}: {' '.join(last) or 'it said nothing'}"


def _opened(child: _Child, chosen: Sequence[str], advance: Advance) -> list[_Found]:
    """What the child says of every peer."""
    found = {name: _Found(name) for name in chosen}
    told = 0
    advance(0.0)
    while not (answer := child.listen(_OPENS_WITHIN_S)).get("ready"):
        peer = found.get(str(answer.get("peer")))
        if peer is None:  # it is gone
            for other in found.values():
                if not other.what:
                    other.missing = other.missing or str(answer.get("missing", "it gave an answer that is none"))
            break
        peer.what, peer.missing = str(answer.get("what", "")), str(answer.get("missing", ""))
        told += 1
        advance(_OPENING_SHARE * told / len(found))
    return list(found.values())


def _our_masks(bundle: Bundle, frames: Sequence[np.ndarray], threads: int) -> list[np.ndarray]:
    """(H, W) uint8, 0 or 255: our mask of every frame."""
    entry = bundle.model(Task.HAIR)
    engine = open_engine(bundle, Task.HAIR, threads=threads)
    try:
        masks = []
        for frame in frames:
            answer = engine.run({entry.input_name: to_network_input(frame, entry)})
            size = frame.shape[1], frame.shape[0]
            masks.append(hair_mask(answer[entry.output_name][0, 0], size, entry.threshold))
        return masks
    finally:
        engine.close()


def _grader(bundle: Bundle, threads: int) -> ConditionGrader | None:
    """None: the bundle grades nothing, or its engines are refused."""
    if not bundle.has(Task.CONDITIONS):
        return None
    try:
        return ConditionGrader(bundle, threads)
    except ScalpScopeError as error:
        log.warning("no grading beside the peers: %s", error)
        return None
