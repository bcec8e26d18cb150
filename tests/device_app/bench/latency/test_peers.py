"""The bench's side of the peers, with real child processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from device_app.bench.latency import peers as module
from device_app.bench.latency.peers import ALL, EAGER, EAGER_GRADED, REMBG, names, run_peers
from device_app.bench.latency.report import Model
from tests.support.tiny_bundle import golden_picture, make_tiny_bundle
from training.segmentation.checkpoint import save_network
from training.segmentation.u2net import U2Net, U2NetConfig

FRAMES = [golden_picture(0), golden_picture(1)]


class Ours:
    """Ours, in no time; remembers when it had its turns, and on which pictures."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> tuple[float, float]:
        self.seen.append(image)
        return 1.0, 2.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 160, 120)


def before_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Have every new Python process do this where it would import torch."""
    (tmp_path / "torch.py").write_text(what)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)


def test_everybody_has_a_turn_on_the_same_frames(tiny: Path, tmp_path: Path) -> None:
    network = U2Net(U2NetConfig(((4, 4),) * 6, ((4, 4),) * 5, 2))
    save_network(network, tmp_path / "weights.pt", {}, 1)
    ours = Ours()
    told: list[float] = []
    weights = tmp_path / "weights.pt"
    found = run_peers(FRAMES, ours, 3, 1, 1, weights, told.append, bundle=tiny, wanted=[EAGER, EAGER_GRADED])
    eager, graded = found
    assert eager.missing == "" and eager.network is not None and eager.whole is not None
    assert eager.network.count == eager.whole.count == 3
    assert eager.network.p50_ms < eager.whole.p50_ms
    assert "weights.pt" in eager.what
    # In every turn a frame is done twice, and the second time counts.
    first, second = FRAMES
    assert [image is first for image in ours.seen] == [True, True, False, False, True, True]
    assert ours.seen[2] is second
    assert eager.network_ratio is not None and eager.whole_ratio is not None
    assert eager.network_ratio.ratio > 1 and eager.whole_ratio.low <= eager.whole_ratio.ratio <= eager.whole_ratio.high
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1
    # One that cannot be run says why, and takes nobody along.
    assert graded.whole is None and "conditions" in graded.missing


def test_without_torch_every_peer_says_so(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_torch(tmp_path, monkeypatch, "print('noise')\nraise ModuleNotFoundError('no torch', name='torch')\n")
    ours = Ours()
    found = run_peers(FRAMES, ours, 1, 1, 1, bundle=tiny)
    assert [peer.name for peer in found] == list(ALL)
    assert {peer.missing for peer in found} == {"torch is not installed: pip install 'scalpscope[export]'"}


def test_a_child_that_dies_is_told(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_torch(tmp_path, monkeypatch, "import os, sys\nprint('out of memory', file=sys.stderr)\nos._exit(7)\n")
    found = run_peers(FRAMES, Ours(), 1, 1, 1, bundle=tiny)
    assert len(found) == len(ALL)
    assert all("code 7" in peer.missing and "out of memory" in peer.missing for peer in found)


def test_a_child_that_hangs_is_ended(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_torch(tmp_path, monkeypatch, "import time\ntime.sleep(60)\n")
    monkeypatch.setattr(module, "_OPENS_WITHIN_S", 1.0)
    found = run_peers(FRAMES, Ours(), 1, 1, 1, bundle=tiny)
    assert all("did not answer" in peer.missing for peer in found)
    assert not [child for child in psutil.Process().children() if "export.peers" in child.cmdline()]


def test_nothing_is_left_when_ours_fails(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_image: np.ndarray) -> tuple[float, float]:
        raise RuntimeError("the engine is gone")

    before_torch(tmp_path, monkeypatch, "raise ModuleNotFoundError('no torch', name='torch')\n")
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(files))
    with pytest.raises(RuntimeError, match="engine is gone"):
        run_peers(FRAMES, broken, 1, 1, 1, bundle=tiny, model=Model.HAIR, wanted=[EAGER])
    assert not list(files.iterdir())


def test_the_hair_network_alone_is_compared_without_grading() -> None:
    assert names(Model.PIPELINE) == ALL
    assert set(ALL) - set(names(Model.HAIR)) == {EAGER_GRADED}
    assert REMBG in names(Model.HAIR)


def test_a_busy_machine_is_told() -> None:
    watch = module._Watch()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    told = watch.disturbed()  # our own work is no disturbance; whoever else works here meanwhile may be
    assert told == "" or "other programs" in told
