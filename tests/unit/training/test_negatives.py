from __future__ import annotations

import math

import pytest
import torch

from training.negatives import ItemSampler, draw_rows, in_batch_negatives, log_relative


def test_log_relative_by_hand() -> None:
    values = log_relative(torch.tensor([0.5, 0.25, 0.25, 0.0]))

    assert values[:3].tolist() == pytest.approx([math.log(2), 0.0, 0.0])
    assert values[3].item() < -80


def test_the_sampler_mixes_popularity_and_uniform_draws() -> None:
    sampler = ItemSampler(torch.tensor([6, 2, 0, 0]), uniform_share=0.5)

    rows = sampler.draw((100_000,), torch.Generator().manual_seed(0))

    expected = torch.tensor([0.5, 0.25, 0.125, 0.125])  # half of (.75, .25, 0, 0) and half of .25 each
    shares = torch.bincount(rows, minlength=4) / len(rows)
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(sampler.log_q, (expected * 4).log())


def test_without_a_uniform_share_items_without_positives_are_never_drawn() -> None:
    sampler = ItemSampler(torch.tensor([0, 3, 0, 1, 0]), uniform_share=0.0)

    rows = sampler.draw((2_000, 2), torch.Generator().manual_seed(0))

    assert rows.shape == (2_000, 2)
    assert set(rows.flatten().tolist()) == {1, 3}


def test_the_same_generator_gives_the_same_draws() -> None:
    sampler = ItemSampler(torch.arange(10), uniform_share=0.2)

    draws = [sampler.draw((50,), torch.Generator().manual_seed(seed)).tolist() for seed in (1, 1, 2)]

    assert draws[0] == draws[1] != draws[2]


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uniform_share is 1\.5, expected a number from 0 to 1"):
        ItemSampler(torch.tensor([1]), uniform_share=1.5)


def test_popularity_without_any_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no item has a training positive.*use uniform_share 1"):
        ItemSampler(torch.zeros(3), uniform_share=0.5)


def test_in_batch_negatives_are_positives_of_other_queries() -> None:
    positives = torch.tensor([10, 11, 12, 13])

    negatives = in_batch_negatives(positives, 200, torch.Generator().manual_seed(0))

    assert negatives.shape == (4, 200)
    for own, row in zip(positives.tolist(), negatives.tolist(), strict=True):
        assert set(row) == {10, 11, 12, 13} - {own}


def test_in_batch_negatives_need_two_queries() -> None:
    with pytest.raises(ValueError, match="need at least 2 queries, the batch has 1; raise the batch size"):
        in_batch_negatives(torch.tensor([1]), 5, torch.Generator())


def test_rows_are_drawn_by_the_probabilities_of_their_query() -> None:
    probs = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    drawn = draw_rows(probs, 2_000, torch.Generator().manual_seed(0))
    assert set(drawn[0].tolist()) == {0, 2}
    assert (drawn[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert set(drawn[1].tolist()) == {1}


def test_draws_follow_each_querys_own_probabilities() -> None:
    probs = torch.tensor([[0.5, 0.0, 0.5, 0.0], [0.0, 0.1, 0.2, 0.7]])

    rows = draw_rows(probs, 50_000, torch.Generator().manual_seed(0))

    shares = torch.stack([torch.bincount(row, minlength=4) / rows.shape[1] for row in rows])
    torch.testing.assert_close(shares, probs, atol=0.01, rtol=0)
    assert shares[probs == 0].max() == 0
