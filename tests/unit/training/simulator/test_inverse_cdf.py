from __future__ import annotations

import numpy as np

from training.simulator.inverse_cdf import InverseCdf


def test_draws_follow_the_weights_of_their_own_distribution() -> None:
    cdf = InverseCdf.of_rows(np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 5.0]]))
    rng = np.random.default_rng(0)
    first = cdf.draw(np.zeros(40_000, dtype=np.int64), rng)
    assert set(np.unique(first)) == {0, 1}
    # One standard error is 0.0022.
    assert abs((first == 1).mean() - 0.75) < 0.009
    assert set(cdf.draw(np.ones(1_000, dtype=np.int64), rng)) == {5}


def test_distributions_may_have_different_lengths() -> None:
    cdf = InverseCdf(np.array([2.0, 0.0, 1.0, 0.0, 7.0]), np.array([0, 1, 1, 1, 2]))
    drawn = cdf.draw(np.array([0, 1, 2] * 100), np.random.default_rng(1))
    assert drawn.reshape(-1, 3).tolist() == [[0, 2, 4]] * 100


def test_the_largest_uniform_number_stays_inside() -> None:
    class Largest:
        def random(self, size: int) -> np.ndarray:
            return np.full(size, np.nextafter(1.0, 0.0))

    cdf = InverseCdf.of_rows(np.ones((1_000, 3)))
    drawn = cdf.draw(np.arange(1_000), Largest())  # type: ignore[arg-type]
    assert (drawn == np.arange(1_000) * 3 + 2).all()
