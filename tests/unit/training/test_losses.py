from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import (
    EXCLUDED,
    OwnPositives,
    accidental_hits,
    product_softmax_loss,
    sampled_bce_loss,
    sampled_softmax_loss,
)

LOG2, LOG3 = math.log(2), math.log(3)


def test_accidental_hits_are_equal_items_in_other_columns() -> None:
    positives = torch.tensor([5, 7, 5])

    hits = accidental_hits(positives, torch.tensor([5, 7, 5, 7]), torch.tensor([0, 1, 2]))

    expected = [[False, False, True, False], [False, False, False, True], [True, False, False, False]]
    assert hits.tolist() == expected


def test_softmax_loss_by_hand() -> None:
    # exp of the logits: 2, 1, 1 -> p = 1/2; and 1, 3, 0+ -> p = 3/4
    logits = torch.tensor([[LOG2, 0.0, 0.0], [0.0, LOG3, -1e9]])

    loss = sampled_softmax_loss(logits, torch.tensor([0, 1]))

    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_softmax_loss_leaves_accidental_hits_out() -> None:
    logits = torch.tensor([[LOG2, 5.0, 0.0]])

    loss = sampled_softmax_loss(logits, torch.tensor([0]), excluded=torch.tensor([[False, True, False]]))

    assert loss.item() == pytest.approx(math.log(3 / 2))


def test_logq_correction_by_hand() -> None:
    # Item 1 is drawn four times as often as item 0: exp(logit) / Q = 2 / 1 and 4 / 4.
    logits = torch.tensor([[LOG2, 2 * LOG2]])

    loss = sampled_softmax_loss(logits, torch.tensor([0]), log_q=torch.tensor([0.0, math.log(4)]))

    assert loss.item() == pytest.approx(math.log(3 / 2))


def test_logq_correction_makes_a_popular_draw_estimate_the_full_softmax() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20)
    probs = (0.7 * logits + 0.3 * torch.randn(20)).softmax(dim=0)
    drawn = torch.multinomial(probs, 200_000, replacement=True)
    full = logits.exp().mean().log()

    corrected = (logits[drawn] - (probs[drawn] * 20).log()).exp().mean().log()

    assert corrected.item() == pytest.approx(full.item(), abs=0.01)
    assert abs(logits[drawn].exp().mean().log().item() - full.item()) > 0.2


def test_bce_loss_by_hand() -> None:
    # sigma(log 3) = 3/4 for the positive, sigma(-log 3) = 1/4 for the negative, sigma(0) = 1/2 excluded
    logits = torch.tensor([[LOG3, -LOG3, 0.0]])

    loss = sampled_bce_loss(logits, torch.tensor([0]), excluded=torch.tensor([[False, False, True]]))

    assert loss.item() == pytest.approx(2 * math.log(4 / 3))


def test_bce_loss_with_logq_learns_the_odds_against_uniform_draws() -> None:
    # One negative a positive, p = (.6, .4), drawn by Q = (.8, .2): with logits log(p * I) the loss is at its minimum.
    probs, draws = torch.tensor([0.6, 0.4]), torch.tensor([0.8, 0.2])
    logits = (probs * 2).log().requires_grad_()
    log_q = (draws * 2).log()
    loss = torch.zeros(())
    for positive in range(2):
        for negative in range(2):
            rows = torch.tensor([[positive, negative]])
            pair = sampled_bce_loss(logits[rows], torch.tensor([0]), log_q=log_q[rows])
            loss = loss + probs[positive] * draws[negative] * pair

    loss.backward()

    assert logits.grad is not None
    assert logits.grad.abs().max().item() < 1e-6


@pytest.mark.parametrize("corrected", [False, True])
def test_product_softmax_equals_the_plain_form_with_its_gradients(corrected: bool) -> None:
    torch.manual_seed(0)
    queries, candidates = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    target = torch.randint(0, 9, (6,))
    excluded = (torch.rand(6, 9) < 0.3) & (torch.arange(9) != target[:, None])
    log_q = torch.randn(9) if corrected else None

    loss = product_softmax_loss(queries, candidates, target, log_q=log_q, excluded=excluded)
    (3 * loss).backward()
    gradients = queries.grad, candidates.grad
    queries.grad = candidates.grad = None
    plain = sampled_softmax_loss(queries @ candidates.T, target, log_q=log_q, excluded=excluded)
    (3 * plain).backward()

    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    torch.testing.assert_close(gradients[0], queries.grad)
    torch.testing.assert_close(gradients[1], candidates.grad)


def test_product_softmax_without_options_is_cross_entropy() -> None:
    torch.manual_seed(1)
    queries, candidates, target = torch.randn(3, 2), torch.randn(5, 2), torch.tensor([0, 4, 2])

    loss = product_softmax_loss(queries, candidates, target)

    assert loss.item() == pytest.approx(F.cross_entropy(queries @ candidates.T, target).item(), abs=1e-6)


def test_a_positive_with_an_embedding_of_its_own_by_autograd() -> None:
    torch.manual_seed(0)
    shapes = ((4, 3), (5, 3), (2, 3))
    queries, candidates, own = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    target, owners, log_q = torch.tensor([0, 4, 4, 2]), torch.tensor([1, 3]), torch.randn(5, dtype=torch.float64)
    excluded = torch.zeros(4, 5, dtype=torch.bool)
    excluded[1, 0] = True

    loss = product_softmax_loss(
        queries, candidates, target, log_q=log_q, excluded=excluded, own=OwnPositives(owners, own)
    )
    loss.backward()
    found = [tensor.grad.clone() for tensor in (queries, candidates, own)]  # type: ignore[union-attr]
    for tensor in (queries, candidates, own):
        tensor.grad = None

    logits = queries @ candidates.T
    logits = logits.index_put((owners, target[owners]), (queries[owners] * own).sum(dim=1)) - log_q
    expected = F.cross_entropy(logits.masked_fill(excluded, EXCLUDED), target)
    expected.backward()

    torch.testing.assert_close(loss, expected)
    for value, tensor in zip(found, (queries, candidates, own), strict=True):
        torch.testing.assert_close(value, tensor.grad)


@pytest.mark.parametrize("loss", [sampled_softmax_loss, sampled_bce_loss])
def test_a_query_whose_positive_must_not_count_does_not_count(loss: Callable[..., Tensor]) -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 4.0]], requires_grad=True)
    target = torch.tensor([0, 1])
    excluded = torch.tensor([[False, False, False], [False, True, False]])
    value = loss(logits, target, excluded=excluded)
    value.backward()
    torch.testing.assert_close(value, loss(logits[:1], target[:1]))
    assert value < 4
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all()
    masked = logits.detach().masked_fill(excluded, EXCLUDED)
    torch.testing.assert_close(loss(masked, target), value)
    assert loss(masked[1:], target[1:]) == 0, "nobody counts"
    assert loss(logits.detach() * torch.nan, target).isnan()


def test_product_softmax_leaves_queries_with_masked_positives_out() -> None:
    """The last component is a bias by day: item 1 is not launched for query 1, whose positive it is."""
    queries = torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 1.0], [0.5, 1.0, 0.0]], requires_grad=True)
    candidates = torch.tensor([[0.2, 0.1, 0.0], [0.4, 0.3, EXCLUDED], [1.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([0, 1, 1])
    value = product_softmax_loss(queries, candidates, target)
    value.backward()
    rows = [[0.3, 0.7, 1.0], [0.2, 0.5, 0.5]]  # products of queries 0 and 2 with the three candidates
    logs = [math.log(sum(map(math.exp, row))) for row in rows]
    assert value.item() == pytest.approx((logs[0] - 0.3 + logs[1] - 0.5) / 2, rel=1e-6)
    assert queries.grad is not None
    assert (queries.grad[1] == 0).all()
    assert candidates.grad is not None
    assert candidates.grad.abs().max() < 1
    plain = [tensor.detach().clone().requires_grad_() for tensor in (queries, candidates)]
    sampled_softmax_loss(plain[0] @ plain[1].T, target).backward()
    for tensor, other in zip((queries, candidates), plain, strict=True):
        torch.testing.assert_close(tensor.grad, other.grad)
    assert product_softmax_loss(queries[1:2], candidates, target[1:2]).item() == 0
