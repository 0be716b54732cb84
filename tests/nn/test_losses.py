"""Divergences over a vocabulary: what they are where it is known, and how they hang together."""

import math

import plain_losses
import pytest
import torch

from distilfleet.nn import losses

DENSE = [
    losses.forward_kl,
    losses.reverse_kl,
    losses.generalised_jsd,
    losses.skewed_kl,
    losses.skewed_reverse_kl,
]


def logits(seed, rows=6, vocabulary=11):
    return torch.randn(
        rows, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def kl(p, q):
    return (p * (p / q).log()).sum(-1).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_each_divergence_is_its_formula(temperature):
    student, teacher = logits(0), logits(1)
    q, p = (student / temperature).softmax(-1), (teacher / temperature).softmax(-1)
    m = 0.3 * p + 0.7 * q
    expected = {
        losses.forward_kl: (kl(p, q), {}),
        losses.reverse_kl: (kl(q, p), {}),
        losses.generalised_jsd: (0.3 * kl(p, m) + 0.7 * kl(q, m), {"beta": 0.3}),
        losses.skewed_kl: (kl(p, m), {"alpha": 0.3}),
        losses.skewed_reverse_kl: (kl(q, 0.3 * q + 0.7 * p), {"alpha": 0.3}),
    }
    for loss, (value, settings) in expected.items():
        torch.testing.assert_close(
            loss(student, teacher, temperature=temperature, **settings), temperature**2 * value
        )


@pytest.mark.parametrize("loss", DENSE)
def test_equal_distributions_are_at_distance_zero_with_no_gradient(loss):
    student = logits(0).requires_grad_()
    value = loss(student, student.detach() + 3.0, temperature=2.0)
    value.backward()
    assert abs(value.item()) < 1e-12
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("loss", DENSE)
def test_the_teacher_is_not_taught(loss):
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda one: loss(one, teacher.detach()), student)


@pytest.mark.parametrize("loss", DENSE)
def test_rows_that_do_not_count_change_nothing(loss):
    student, teacher = logits(0), logits(1)
    mask = torch.tensor([True, False, True, True, False, False])
    torch.testing.assert_close(
        loss(student, teacher, mask_N=mask), loss(student[mask], teacher[mask])
    )
    assert loss(student, teacher, mask_N=torch.zeros(6, dtype=torch.bool)) == 0


def test_divergences_meet_at_their_limits():
    student, teacher = logits(0), logits(1)
    forward, reverse = losses.forward_kl(student, teacher), losses.reverse_kl(student, teacher)
    tiny = 1e-7
    torch.testing.assert_close(
        losses.generalised_jsd(student, teacher, beta=tiny) / tiny, forward, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        losses.generalised_jsd(student, teacher, beta=1 - tiny) / tiny, reverse, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        losses.skewed_kl(student, teacher, alpha=tiny), forward, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        losses.skewed_reverse_kl(student, teacher, alpha=tiny), reverse, rtol=1e-4, atol=0
    )
    assert losses.generalised_jsd(student, teacher) < math.log(2)


def test_a_token_without_probability_in_both_adds_nothing():
    student, teacher = logits(0), logits(1)
    padded = torch.full((6, 1), -math.inf, dtype=torch.float64)
    wide = [torch.cat([one, padded], -1) for one in (student, teacher)]
    torch.testing.assert_close(losses.forward_kl(*wide), losses.forward_kl(student, teacher))


def test_all_tokens_listed_is_the_dense_divergence():
    student, teacher = logits(0), logits(1)
    log_p, ids = (teacher / 2).log_softmax(-1).topk(10, -1)
    dense = losses.forward_kl(student, teacher, temperature=2.0)
    torch.testing.assert_close(plain_losses.top_k_kl(student, ids, log_p, temperature=2.0), dense)
    coarse = plain_losses.top_k_kl(student, ids[:, :3], log_p[:, :3], temperature=2.0)
    assert 0 < coarse < dense


def test_the_tail_is_kept_and_not_spread_over_the_listed():
    student, teacher = logits(0), logits(1)
    log_p, ids = teacher.log_softmax(-1).topk(3, -1)
    assert plain_losses.top_k_kl(teacher, ids, log_p).abs() < 1e-12
    assert plain_losses.top_k_kl(teacher, ids, log_p - log_p.logsumexp(-1, keepdim=True)) > 0.1
    assert plain_losses.top_k_kl(student, ids, log_p) > 0


def test_sampled_ids_miss_the_divergence_by_the_entropy():
    student, teacher = logits(0), logits(1)
    p = (teacher / 2).softmax(-1)
    ids = torch.multinomial(
        p, 200_000, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    entropy = -(p * p.log()).sum(-1).mean()
    expected = losses.forward_kl(student, teacher, temperature=2.0) + 4 * entropy
    torch.testing.assert_close(
        plain_losses.sampled_kl(student, ids, temperature=2.0), expected, atol=0.02, rtol=0
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.forward_kl(logits(0), logits(0, vocabulary=9)),
            r"not \(6, 11\) and \(6, 9\)",
        ),
        (lambda: losses.reverse_kl(logits(0), logits(1), temperature=0.0), "temperature above 0"),
        (
            lambda: losses.generalised_jsd(logits(0), logits(1), beta=1.0),
            "beta lies between 0 and 1",
        ),
        (lambda: losses.skewed_kl(logits(0), logits(1), alpha=0.0), "alpha lies between 0 and 1"),
    ],
)
def test_what_does_not_go_together_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
