"""U²-Net: the public tables, any size, fold, and an export without shape arithmetic."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from calibration.errors import ScalpScopeError
from training.segmentation.u2net import WIDTHS, U2Net, U2NetConfig


def _network(variant: str, fold: int = 1, seed: int = 0) -> U2Net:
    torch.manual_seed(seed)
    return U2Net(U2NetConfig.named(variant, fold)).eval()


@pytest.mark.parametrize(("variant", "parameters"), [("full", 44_009_869), ("lite", 1_131_181)])
def test_public_tables_have_the_published_number_of_parameters(variant: str, parameters: int) -> None:
    with torch.device("meta"):
        network = U2Net(U2NetConfig.named(variant))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("variant", "name", "shape"),
    [
        ("full", "stage1.rebnconvin.conv_s1.weight", (64, 3, 3, 3)),
        ("full", "stage1.rebnconv7.conv_s1.weight", (32, 32, 3, 3)),
        ("full", "stage2.rebnconv5d.conv_s1.weight", (32, 64, 3, 3)),
        ("full", "stage4.rebnconv4.bn_s1.running_mean", (128,)),
        ("full", "stage6.rebnconv1d.conv_s1.weight", (512, 512, 3, 3)),
        ("full", "stage5d.rebnconvin.conv_s1.weight", (512, 1024, 3, 3)),
        ("full", "stage1d.rebnconv6d.conv_s1.weight", (16, 32, 3, 3)),
        ("full", "side4.weight", (1, 256, 3, 3)),
        ("full", "outconv.weight", (1, 6, 1, 1)),
        ("lite", "stage1d.rebnconvin.conv_s1.weight", (64, 128, 3, 3)),
        ("lite", "stage6.rebnconv4.conv_s1.weight", (16, 16, 3, 3)),
        ("lite", "side6.bias", (1,)),
    ],
)
def test_public_names_and_shapes(variant: str, name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = U2Net(U2NetConfig.named(variant)).state_dict()
    assert tuple(state[name].shape) == shape


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 64), (45, 70), (33, 31)])
def test_seven_maps_of_the_input_size(fold: int, size: tuple[int, int]) -> None:
    with torch.no_grad():
        maps = _network("slim", fold)(torch.rand(2, 3, *size))
    assert [tuple(one.shape) for one in maps] == [(2, 1, *size)] * 7


def test_folded_network_sees_and_answers_every_pixel() -> None:
    network = _network("slim", fold=2)
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    answer = network(picture)[0]
    answer.square().sum().backward()
    assert picture.grad is not None
    assert (picture.grad != 0).all()
    # A folded answer is no blown-up half-size map: neighbours inside one 2x2 block differ.
    block = answer.detach()[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).flatten(2)
    assert (block.std(dim=2) > 1e-4).all()


@pytest.mark.parametrize(("variant", "fold", "size"), [("slim", 2, (120, 160)), ("lite", 1, (48, 80))])
def test_export_matches_torch_and_computes_no_shapes(variant: str, fold: int, size: tuple[int, int]) -> None:
    network = _network(variant, fold)
    picture = torch.rand(1, 3, *size)
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (picture,), stream, dynamo=False, opset_version=17, input_names=["image"])
        expected = [one.numpy() for one in network(picture)]
    model = onnx.load_from_string(stream.getvalue())
    assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "NonZero", "Gather"}
    session = ort.InferenceSession(stream.getvalue(), providers=["CPUExecutionProvider"])
    for ours, theirs in zip(expected, session.run(None, {"image": picture.numpy()}), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_slim_is_narrow_where_pixels_are_many() -> None:
    encoder, decoder = WIDTHS["slim"]
    assert encoder[0][1] + decoder[-1][1] < WIDTHS["lite"][0][0][1]


def test_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(ScalpScopeError, match="full, lite, slim"):
        U2NetConfig.named("huge")


def test_config_of_the_wrong_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="6 encoder"):
        U2NetConfig(((16, 16),) * 5, ((16, 16),) * 5)
