from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.simulator.tiny import TWO_BRAND_TASTES, TWO_PERSONAS, TWO_TASTES, tiny_items, tiny_shop
from training.simulator.choice import nearest_items
from training.simulator.traits import LatentSpace


@pytest.mark.parametrize("latent", [TWO_PERSONAS, TWO_TASTES, TWO_BRAND_TASTES])
def test_every_table_equals_its_definition(latent: LatentSpace) -> None:
    shop, brute = tiny_shop(latent, hazard=0.0, num_users=1)
    model = shop.model
    for day in range(3):
        for age, gender, context in ((0, 0, 0), (3, 1, 7), (4, 2, 11)):
            prior = brute.prior(age, gender)
            np.testing.assert_allclose(model.prior[age, gender], prior, rtol=1e-12)
            for row, z in enumerate(brute.classes):
                persona, style = divmod(row, latent.num_styles)
                for i in range(6):
                    c = int(model.category[i])
                    own = model.category_probs[day, age, context, persona, c] * model.within[day, gender, style, i]
                    mean = model.category_probs_mean[day, age, persona, c] * model.within[day, gender, style, i]
                    assert own == pytest.approx(brute.own(i, z, day, age, gender, context), rel=1e-9, abs=1e-15)
                    assert mean == pytest.approx(brute.own(i, z, day, age, gender, -1), rel=1e-9, abs=1e-15)


def test_similar_items_are_the_nearest_launched_ones_of_the_category() -> None:
    shop, brute = tiny_shop(TWO_PERSONAS, hazard=0.0, num_users=1)
    for day in range(3):
        for last in range(6):
            expected = brute.similar(last, day)
            item = np.arange(6)
            got = shop.model.similar_prob(np.full(6, day), np.full(6, last), item)
            np.testing.assert_allclose(got, [expected.get(i, 0.0) for i in range(6)], rtol=1e-12)


def test_nothing_is_similar_to_a_lonely_item_or_to_no_item() -> None:
    shop, _ = tiny_shop(TWO_PERSONAS, hazard=0.0, num_users=1)
    # Item 3 has no launched neighbour before day 1; item 5 is alone in its category.
    weights = shop.model.similar_weight(np.array([0, 1, 0, 0]), np.array([3, 3, 5, -1]))
    assert weights.tolist() == [0.0, 0.4, 0.0, 0.0]
    assert shop.model.similar_prob(np.array([0]), np.array([-1]), np.array([0])).tolist() == [0.0]


def test_nearest_items_by_hand() -> None:
    # From item 0: item 1 is 1.2 in price and another taste away (2.2), item 2 is 1.8 and another category_l2 (4.8).
    # From item 2: item 0 is 4.8 away, item 1 is 0.6 + 3 + 1 = 4.6.
    nearest = nearest_items(tiny_items(), 1)
    assert nearest.tolist() == [[1], [0], [1], [4], [3], [6]]
