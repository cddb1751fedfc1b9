"""The Gaussian process against the textbook's formulas, written out one number at a time."""

import math

import numpy as np

from searcher.surrogate import KernelSettings, Surrogate
from searcher.variables import Kind, Variable

VARIABLES = (
    Variable("hidden", Kind.HIDDEN, "hidden", (1, 2, 3), 1, stages=(0, 1, 2, 3)),
    Variable("a", Kind.PRECISION, "a", ("binary", "int8", "fp16"), "binary", addresses=("x",)),
    Variable("b", Kind.PRECISION, "b", ("fp16", "binary"), "binary", addresses=("y",)),
)
SETTINGS = KernelSettings(additive=0.4, cost=0.3, level=0.7, lengths=(0.8,), amplitudes=(2.0,), noises=(0.3,))


def kernel(x: tuple[int, ...], y: tuple[int, ...], cx: np.ndarray, cy: np.ndarray) -> float:
    each = []
    for variable, i, j in zip(VARIABLES, x, y, strict=True):
        distance = variable.positions[i] - variable.positions[j]
        each.append(math.exp(-(distance**2) / (2 * 0.8**2)))
    product = each[0] * each[1] * each[2]
    return 2.0 * (0.4 * sum(each) / 3 + 0.6 * product) + 0.3 * (cx[0] * cy[0] + cx[1] * cy[1]) / 2 + 0.7


def data(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    codes = np.stack([draw.integers(len(v.choices), size=count) for v in VARIABLES], axis=1).astype(np.uint8)
    return codes, draw.normal(size=(count, 2)), draw.uniform(0.4, 0.7, count)


def test_means_and_deviations_are_the_posterior_of_the_stated_kernel() -> None:
    codes, costs, accuracies = data(7)
    others, other_costs, _ = data(11)
    surrogate = Surrogate(VARIABLES, codes, costs, accuracies, SETTINGS)
    values = (accuracies - accuracies.mean()) / accuracies.std()
    trials = list(zip(codes, costs, strict=True))
    gram = np.array([[kernel(x, y, cx, cy) for y, cy in trials] for x, cx in trials])
    inverse = np.linalg.inv(gram + 0.3**2 * np.eye(7))
    means, deviations = surrogate.means(others, other_costs), surrogate.deviations(others, other_costs)
    for i, (x, cx) in enumerate(zip(others, other_costs, strict=True)):
        cross = np.array([kernel(x, y, cx, cy) for y, cy in trials])
        assert math.isclose(means[i], accuracies.mean() + accuracies.std() * (cross @ inverse @ values), rel_tol=1e-9)
        variance = kernel(x, x, cx, cx) - cross @ inverse @ cross
        assert math.isclose(deviations[i], accuracies.std() * math.sqrt(variance), rel_tol=1e-7)


def test_the_likeliest_noise_is_chosen() -> None:
    codes, costs, _ = data(60)
    signal = codes @ np.array([0.05, 0.03, -0.04])
    noisy = signal + np.random.default_rng(0).normal(scale=0.2, size=60)
    chosen = []
    for accuracies in (signal, noisy):
        surrogate = Surrogate(VARIABLES, codes, costs, accuracies)
        chosen.append(np.abs(surrogate.means(codes, costs) - signal).mean())
    assert chosen[0] < 0.005
    assert chosen[1] < 0.1  # smoothed: the noise alone would leave 0.16


def test_equal_accuracies_are_no_problem() -> None:
    codes, costs, _ = data(5)
    surrogate = Surrogate(VARIABLES, codes, costs, np.full(5, 0.5))
    assert np.allclose(surrogate.means(codes, costs), 0.5, atol=1e-6)
    assert np.isfinite(surrogate.deviations(codes, costs)).all()


def test_results_do_not_depend_on_chunks_and_parts(monkeypatch) -> None:
    codes, costs, accuracies = data(9)
    others, other_costs, _ = data(50)

    def results() -> tuple[np.ndarray, np.ndarray]:
        surrogate = Surrogate(VARIABLES, codes, costs, accuracies)
        return surrogate.means(others, other_costs), surrogate.deviations(others, other_costs)

    whole = results()
    monkeypatch.setattr("searcher.surrogate.CHUNK", 7)
    monkeypatch.setattr("searcher.surrogate.PART", 4)
    for a, b in zip(whole, results(), strict=True):
        assert np.allclose(a, b, rtol=1e-12)
