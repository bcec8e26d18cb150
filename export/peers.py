"""``python -m export.peers``: what people would otherwise run on the same frames, for `scalpscope bench --peers`.

A child process of `device_app.bench.latency.peers`, which says what goes back and forth: lines of JSON. It rests
while its parent measures.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from device_app.bench.latency.peers import FRAMES_NAME
from device_app.bench.live_rate import hold_to_cores
from device_app.bundle import load_bundle

if TYPE_CHECKING:
    from export.peers_ways import Given, Way

log = logging.getLogger(__name__)


def main() -> None:
    """Open the peers of the order, the only argument; then answer until standard input ends."""
    order = json.loads(sys.argv[1])
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    hold_to_cores(order["cores"])
    serve(order, sys.stdin, answers)


def serve(order: dict[str, Any], asked: TextIO, answers: TextIO) -> None:
    """Open, say what there is, answer.

    Args:
        order: ``folder`` (with `FRAMES_NAME`, and for temporary files), ``bundle``, ``cores``, ``threads``, ``measure``
            (the hairs; or end with the mask), ``checkpoint`` or None, ``peers`` by name.
        asked: questions, one a line.
        answers: where the answers go, one a line.
    """

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message, ensure_ascii=False) + "\n")

    try:
        from export import peers_ways
    except ModuleNotFoundError as error:
        for name in order["peers"]:
            say({"peer": name, "missing": f"{error.name} is not installed: pip install 'scalpscope[export]'"})
        say({"ready": True})
        return
    peers_ways.hold_threads(order["threads"])
    given = _given(order)
    opened: dict[str, Way] = {}
    for name in order["peers"]:
        try:
            way = peers_ways.open_way(name, given)
            way.run(0)
            opened[name] = way
            say({"peer": name, "what": way.what})
        except Exception as error:  # one that cannot be run must not take the others along
            log.debug("%s cannot be run", name, exc_info=True)
            say({"peer": name, "missing": peers_ways.why_missing(error)})
    say({"ready": True})
    for line in asked:
        question = json.loads(line)
        try:
            way = opened[question["peer"]]
            way.run(question["frame"])  # as on the other side: the first after a change of turns does not count
            network_ms, whole_ms = way.run(question["frame"])
            say({"network_ms": network_ms, "whole_ms": whole_ms})
        except Exception as error:
            say({"missing": peers_ways.why_missing(error)})


def _given(order: dict[str, Any]) -> Given:
    from export.peers_ways import Given

    folder = Path(order["folder"])
    with np.load(folder / FRAMES_NAME) as arrays:
        count = len(arrays.files) // 2
        frames = [arrays[f"frame_{number}"] for number in range(count)]
        masks = [arrays[f"mask_{number}"] > 0 for number in range(count)]
    checkpoint = None if order["checkpoint"] is None else Path(order["checkpoint"])
    bundle = load_bundle(Path(order["bundle"]))
    return Given(bundle, frames, masks, order["threads"], order["measure"], checkpoint, folder)


if __name__ == "__main__":
    main()
