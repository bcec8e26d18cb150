"""Weights from every kind of file, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calibration.errors import ScalpScopeError
from training.checkpoint import load_state, save_atomically
from training.segmentation.checkpoint import load_network, save_network
from training.segmentation.u2net import U2Net, U2NetConfig


def _network(variant: str = "slim", fold: int = 2) -> U2Net:
    torch.manual_seed(3)
    return U2Net(U2NetConfig.named(variant, fold)).eval()


def _answers_alike(one: U2Net, other: U2Net) -> bool:
    picture = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        return torch.equal(one(picture)[0], other(picture)[0])


def test_saved_network_comes_back_with_its_shape(tmp_path: Path) -> None:
    network = _network()
    save_network(network, tmp_path / "weights.pt", recipe={"a": 1}, step=7)
    loaded = load_network(tmp_path / "weights.pt")
    assert loaded.config == network.config
    assert not loaded.training
    assert _answers_alike(network, loaded)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_a_public_file_is_a_bare_state_dictionary(tmp_path: Path) -> None:
    network = _network("lite", 1)
    torch.save(network.state_dict(), tmp_path / "u2netp.pth")
    loaded = load_network(tmp_path / "u2netp.pth")
    assert loaded.config == U2NetConfig.named("lite")
    assert _answers_alike(network, loaded)


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_atomically({"old": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        save_atomically({"new": lambda: None}, path)
    assert torch.load(path) == {"old": 1}


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut off"])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"weights\.pt"):
        load_network(path)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_network(_network(), path, {}, 1)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ScalpScopeError, match="cannot be read"):
        load_network(path)


def test_other_contents(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(ScalpScopeError, match=r"no U²-Net"):
        load_network(path)
    with pytest.raises(ScalpScopeError, match="no checkpoint"):
        load_state(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(ScalpScopeError, match="no weights"):
        load_network(path)
    with pytest.raises(ScalpScopeError, match="no file"):
        load_network(tmp_path / "missing.pt")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "u2netp.pth"
    state = _network("lite", 1).state_dict()
    del state["side3.bias"]
    torch.save(state, path)
    with pytest.raises(ScalpScopeError, match=r"side3\.bias"):
        load_network(path)
