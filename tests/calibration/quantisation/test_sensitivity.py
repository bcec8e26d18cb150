"""The choice of layers to leave in float, on networks whose loss is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.quantisation import Loss, find_float_layers


def additive(harm: Mapping[str, float], calls: list[frozenset[str]] | None = None) -> Callable[[frozenset[str]], Loss]:
    """Each group in int8 adds its harm to the loss."""

    def measure(kept: frozenset[str]) -> Loss:
        if calls is not None:
            calls.append(kept)
        return Loss((1.0,), (sum(value for name, value in harm.items() if name not in kept),))

    return measure


def test_the_layers_that_hurt_are_found_and_the_others_left() -> None:
    harm = {"first": 0.3, "middle": 0.001, "head": 0.6, "deep": 0.001}
    found = find_float_layers(dict.fromkeys(harm, 0.01), additive(harm))
    assert found.chosen == ("head", "first")
    assert abs(found.all_int8 - 0.902) < 1e-9 and abs(found.final - 0.002) < 1e-9
    assert found.float_alone["head"] < found.float_alone["first"] < found.float_alone["deep"]


def test_a_layer_that_costs_too_much_stays_in_int8() -> None:
    found = find_float_layers({"huge": 0.5, "small": 0.02}, additive({"huge": 0.9, "small": 0.4}), max_cost=0.1)
    assert found.chosen == ("small",)


def test_a_layer_that_only_helps_alone_is_not_kept_twice() -> None:
    """Two layers that mend the same fault: one of them is enough."""

    def measure(kept: frozenset[str]) -> Loss:
        return Loss((1.0,), (0.0 if kept & {"a", "b"} else 0.5,))

    assert len(find_float_layers({"a": 0.01, "b": 0.01}, measure).chosen) == 1


def test_a_perfect_network_keeps_nothing_in_float() -> None:
    assert find_float_layers({"a": 0.01, "b": 0.01}, additive({})).chosen == ()


def test_the_score_counts_the_worst_picture() -> None:
    even, uneven = Loss((0.95, 0.95), (0.0, 0.0)), Loss((1.0, 0.9), (0.0, 0.0))
    assert even.score < uneven.score
    assert Loss((1.0, 1.0), (0.0, 0.0)).score == 0


@settings(max_examples=50, deadline=None)
@given(
    harm=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1),
    cost=st.floats(0.0, 0.2),
)
def test_bounded_time_bounded_cost_and_never_worse(harm: dict[str, float], cost: float) -> None:
    calls: list[frozenset[str]] = []
    said: list[str] = []
    groups = dict.fromkeys(harm, cost)
    found = find_float_layers(groups, additive(harm, calls), max_cost=0.3, report=said.append)
    assert len(calls) <= 2 * len(groups) + 1 and len(said) == len(calls)
    assert sum(groups[name] for name in found.chosen) <= 0.3 + 1e-9
    assert found.final <= found.all_int8
