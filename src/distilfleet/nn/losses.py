"""Losses of training and distillation. Axes: B batch, C classes or channels, N rows, V vocabulary,
K ids of a row."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own name)
from torch import Tensor

EQUAL_SHARES = 0.3
"""Weight of equal class shares beside a device's own in calibration, so that no class is out of the
question."""


def soft_kl(student_BC: Tensor, soft_BC: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(soft labels || student), nats, averaged over the batch.

    Args:
        student_BC: logits.
        soft_BC: the teacher's probabilities at the same temperature.
        temperature: > 0; the factor T^2 keeps the size of gradients.

    Source: Hinton et al., https://arxiv.org/abs/1503.02531; direction as in KOALA,
    https://arxiv.org/abs/2407.05268.
    """
    log_BC = F.log_softmax(student_BC / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_BC, soft_BC, reduction="batchmean")


def prior_shift(counts_C: Tensor) -> Tensor:
    """What logit calibration adds to the logits while a device trains: the log of its class shares,
    mixed with equal ones.

    A class that the device lacks is then pushed down less by its absence. Without the mixture it
    would drop out of the softmax, and a device of one class would have nothing to learn: its loss
    is 0.
    Source: Zhang et al., FedLC, https://arxiv.org/abs/2209.00189; the form is balanced softmax,
    https://arxiv.org/abs/2007.10740.
    """
    return ((1 - EQUAL_SHARES) * counts_C / counts_C.sum() + EQUAL_SHARES / len(counts_C)).log()


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of two feature maps of one shape, each scaled to unit norm per
    sample."""
    return (
        (F.normalize(student.flatten(1), dim=1) - F.normalize(teacher.flatten(1), dim=1))
        .square()
        .sum(1)
        .mean()
    )


# --- distillation over a vocabulary ---------------------------------------------------------------


def forward_kl(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    temperature: float = 1.0,
    mask_N: Tensor | None = None,
) -> Tensor:
    """T^2 KL(teacher || student), nats, averaged over the rows that count.

    Args:
        student_NV: logits.
        teacher_NV: logits; one of -inf is a token that has no probability.
        temperature: > 0; divides both logits.
        mask_N: rows that count are true; None: all.
    """
    log_q_NV, log_p_NV = _log_probabilities(student_NV, teacher_NV, temperature)
    return _mean(temperature**2 * _kl(log_p_NV, log_q_NV), mask_N)


def reverse_kl(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    temperature: float = 1.0,
    mask_N: Tensor | None = None,
) -> Tensor:
    """T^2 KL(student || teacher): prefers a student that is right about less. Arguments as of
    `forward_kl`.

    Source: Gu et al., MiniLLM, https://arxiv.org/abs/2306.08543.
    """
    log_q_NV, log_p_NV = _log_probabilities(student_NV, teacher_NV, temperature)
    return _mean(temperature**2 * _kl(log_q_NV, log_p_NV), mask_N)


def generalised_jsd(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    mask_N: Tensor | None = None,
) -> Tensor:
    """T^2 (beta KL(teacher || m) + (1 - beta) KL(student || m)) with m = beta teacher + (1 - beta)
    student.

    Between forward KL (divided by beta, beta to 0) and reverse KL (divided by 1 - beta, beta to 1).
    Other arguments as of `forward_kl`; beta lies between 0 and 1, ends excluded.

    Source: Agarwal et al., GKD, https://arxiv.org/abs/2306.13649, eq. 1.
    """
    _check_share("beta", beta)
    log_q_NV, log_p_NV = _log_probabilities(student_NV, teacher_NV, temperature)
    log_m_NV = _log_mixture(log_p_NV, log_q_NV, beta)
    return _mean(
        temperature**2 * (beta * _kl(log_p_NV, log_m_NV) + (1 - beta) * _kl(log_q_NV, log_m_NV)),
        mask_N,
    )


def skewed_kl(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    alpha: float = 0.1,
    temperature: float = 1.0,
    mask_N: Tensor | None = None,
) -> Tensor:
    """T^2 KL(teacher || alpha teacher + (1 - alpha) student): gradients stay bounded where the
    student has nothing.

    Source: Ko et al., DistiLLM, https://arxiv.org/abs/2402.03898, section 3.1.
    """
    _check_share("alpha", alpha)
    log_q_NV, log_p_NV = _log_probabilities(student_NV, teacher_NV, temperature)
    return _mean(temperature**2 * _kl(log_p_NV, _log_mixture(log_p_NV, log_q_NV, alpha)), mask_N)


def skewed_reverse_kl(
    student_NV: Tensor,
    teacher_NV: Tensor,
    *,
    alpha: float = 0.1,
    temperature: float = 1.0,
    mask_N: Tensor | None = None,
) -> Tensor:
    """T^2 KL(student || alpha student + (1 - alpha) teacher). Source: as of `skewed_kl`."""
    _check_share("alpha", alpha)
    log_q_NV, log_p_NV = _log_probabilities(student_NV, teacher_NV, temperature)
    return _mean(temperature**2 * _kl(log_q_NV, _log_mixture(log_q_NV, log_p_NV, alpha)), mask_N)


def tail(log_p_NK: Tensor) -> Tensor:
    """Probability that is left for the tokens which are not listed, [N]; a little above 0 even if
    rounding ate it."""
    return (1 - log_p_NK.exp().sum(-1)).clamp_min(torch.finfo(log_p_NK.dtype).eps)


def _log_probabilities(
    student_NV: Tensor, teacher_NV: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    if student_NV.shape != teacher_NV.shape or temperature <= 0:
        shapes = f"{tuple(student_NV.shape)} and {tuple(teacher_NV.shape)}"
        raise ValueError(
            f"logits of one shape and a temperature above 0 expected, not {shapes} and "
            f"{temperature}"
        )
    return F.log_softmax(student_NV / temperature, -1), F.log_softmax(
        teacher_NV.detach() / temperature, -1
    )


def _kl(log_p_NV: Tensor, log_q_NV: Tensor) -> Tensor:
    """KL(p || q) of each row. A token without probability in p adds nothing, whatever q says."""
    p_NV = log_p_NV.exp()
    gap_NV = (log_p_NV - log_q_NV).masked_fill(p_NV == 0, 0.0)
    return (p_NV * gap_NV).sum(-1)


def _log_mixture(log_p_NV: Tensor, log_q_NV: Tensor, share: float) -> Tensor:
    return torch.logaddexp(log_p_NV + math.log(share), log_q_NV + math.log1p(-share))


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"{name} lies between 0 and 1, ends excluded; it is {share}")


def _mean(losses_N: Tensor, mask_N: Tensor | None) -> Tensor:
    if mask_N is None:
        return losses_N.mean()
    return losses_N.masked_fill(~mask_N.bool(), 0.0).sum() / mask_N.sum().clamp_min(1)
