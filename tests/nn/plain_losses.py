"""Losses of a listed part of the teacher, written out plainly: what the fused loss is held against.

Axes: N rows, V vocabulary, K ids of a row.
"""

import torch
import torch.nn.functional as F  # noqa: N812

from distilfleet.nn.losses import tail


def sampled_kl(student_NV, ids_NK, *, temperature=1.0, mask_N=None):
    """T^2 times the cross-entropy of the student on ids drawn from the teacher: forward KL but for
    a constant.

    Unbiased, gradient included, if the ids were drawn from the teacher *at this temperature*.

    Source: Anshumann et al., https://arxiv.org/abs/2503.16870.
    """
    log_q_NK = F.log_softmax(student_NV / temperature, dim=-1).gather(1, ids_NK.long())
    return mean(-(temperature**2) * log_q_NK.mean(-1), mask_N)


def top_k_kl(student_NV, ids_NK, log_p_NK, *, temperature=1.0, mask_N=None):
    """T^2 KL(teacher || student) over k tokens and one bucket with all others, the tail; never
    renormalised.

    Args:
        student_NV: logits.
        ids_NK: the teacher's likeliest tokens, different ones in each row.
        log_p_NK: their log-probabilities at this temperature; what they lack of 1 is the tail's.
        temperature: > 0.
        mask_N: rows that count are true; None: all.
    """
    log_q_NK = F.log_softmax(student_NV / temperature, dim=-1).gather(1, ids_NK.long())
    tail_p_N, tail_q_N = tail(log_p_NK), tail(log_q_NK)
    kept_N = torch.special.xlogy(log_p_NK.exp(), log_p_NK.exp()).sum(-1) - (
        log_p_NK.exp() * log_q_NK
    ).sum(-1)
    return mean(
        temperature**2
        * (kept_N + torch.special.xlogy(tail_p_N, tail_p_N) - tail_p_N * tail_q_N.log()),
        mask_N,
    )


def mean(losses_N, mask_N):
    return losses_N.mean() if mask_N is None else losses_N[mask_N].mean()
