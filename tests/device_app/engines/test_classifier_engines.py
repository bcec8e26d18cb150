"""Classifiers' engines and their goldens: one that computes something else is refused, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, Task, load_bundle
from device_app.engines.engine import Engine, Precision
from device_app.engines.goldens import check_goldens, compare_with_goldens
from device_app.engines.select import open_engine, open_preferred
from tests.support.colour_classifier import make_classifier_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("graded") / "b"
    return load_bundle(make_classifier_bundle(folder, 64, 48, overview=True, hsv=True, mask=True))


@pytest.mark.parametrize("task", [Task.CONDITIONS, Task.HAIR_LOSS_STAGE])
def test_the_goldens_are_reproduced(bundle: Bundle, task: Task) -> None:
    engine = open_engine(bundle, task)
    found = engine.goldens
    assert found.mean_abs_diff < 1e-6
    assert found.probability_diff is not None and found.probability_diff < 1e-6
    assert found.distance_diff is not None and found.distance_diff < 1e-6
    assert found.mask_dice is None and found.iou_diff is None
    assert str(found).startswith("probabilities within 0.0000")
    assert not engine.fallback


class _Wrong:
    """The processor's engine, with what it answers changed."""

    backend = "onnxruntime-cpu"
    precision = Precision.FP32

    def __init__(self, inner: Engine, change: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> None:
        self.inner, self.change = inner, change

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: self.change.get(name, lambda x: x)(value) for name, value in self.inner.run(inputs).items()}

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        (Task.CONDITIONS, {"presence": lambda x: x[:, ::-1]}, "probabilities off by"),
        (Task.CONDITIONS, {"presence": lambda x: x + 0.1}, "probabilities off by 0.00"),
        (Task.CONDITIONS, {"severity": lambda x: x[..., ::-1]}, "probabilities off by"),
        (Task.CONDITIONS, {"quality": lambda x: x[:, ::-1]}, "probabilities off by 1"),
        (Task.CONDITIONS, {"distance": lambda x: 1.01 * x}, "distance off by 0.0100"),
        (Task.CONDITIONS, {"heat_map": lambda x: x + 0.01}, "heat maps' mean difference 0.0100"),
        (Task.HAIR_LOSS_STAGE, {"classes": lambda x: x[:, ::-1]}, "probabilities off by"),
        (Task.HAIR_LOSS_STAGE, {"heat_map": lambda x: x[:, ::-1]}, "heat maps' mean difference"),
    ],
)
def test_one_that_computes_something_else_is_refused(
    bundle: Bundle, task: Task, change: dict[str, Callable[[np.ndarray], np.ndarray]], said: str
) -> None:
    engine = open_engine(bundle, task).engine
    model = bundle.model(task)
    check_goldens(engine, bundle, model)
    with pytest.raises(ScalpScopeError, match=f"computes something else.*{said}"):
        check_goldens(_Wrong(engine, change), bundle, model)


def test_a_constant_added_to_all_severities_means_nothing_and_is_no_difference(bundle: Bundle) -> None:
    """Probabilities are compared, not logits."""
    engine = open_engine(bundle, Task.CONDITIONS).engine
    shifted = _Wrong(engine, {"severity": lambda x: x + 100, "quality": lambda x: x - 7})
    found = compare_with_goldens(shifted, bundle.path, bundle.model(Task.CONDITIONS))
    assert found.probability_diff is not None and found.probability_diff < 1e-5


def test_goldens_that_are_anothers_refuse_every_engine(tmp_path: Path) -> None:
    bundle = load_bundle(make_classifier_bundle(tmp_path / "b", 64, 48, refused=True))
    with pytest.raises(ScalpScopeError, match=r"No engine for the task 'conditions'.*probabilities off by"):
        open_engine(bundle, Task.CONDITIONS)


def test_a_precision_that_a_classifier_lacks_is_passed_over_with_a_reason(bundle: Bundle) -> None:
    engine, reasons = open_preferred(bundle, Task.CONDITIONS, Precision.INT8_U8S8, 1)
    assert engine.precision is Precision.FP32
    assert any("int8_u8s8 was asked for, and the bundle has no such file" in reason for reason in reasons)
    assert all(reason.startswith("conditions: ") for reason in reasons)
