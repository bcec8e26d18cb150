"""Arithmetic that is counted agrees with what can be worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.tiny_student import make_student
from training.prompting.operations import (
    NanoSamEncoder,
    decoder_multiply_adds,
    encoder_multiply_adds,
    multiply_adds,
)


def test_a_convolution_and_a_matrix_product() -> None:
    assert multiply_adds(nn.Conv2d(3, 5, 3, padding=1), torch.zeros(1, 3, 8, 10)) == 8 * 10 * 9 * 3 * 5
    assert multiply_adds(nn.Linear(7, 11), torch.zeros(2, 7)) == 2 * 7 * 11


def test_more_points_cost_more_and_the_encoder_nothing_for_them() -> None:
    student = make_student()
    few, many = (decoder_multiply_adds(student, points) for points in (1, 101))
    assert many > few
    assert encoder_multiply_adds(student) > 0


def test_nanosams_layers_give_sams_embedding() -> None:
    with torch.no_grad():
        embedding = NanoSamEncoder().eval()(torch.zeros(1, 3, 128, 128))
    assert embedding.shape == (1, 256, 8, 8)
