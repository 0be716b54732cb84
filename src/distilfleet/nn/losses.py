"""Losses of training and distillation. Axes: B batch, C classes or channels."""

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own name)
from torch import Tensor


def soft_kl(student_BC: Tensor, soft_BC: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(soft labels || student), nats, averaged over the batch.

    Args:
        student_BC: logits.
        soft_BC: the teacher's probabilities at the same temperature.
        temperature: > 0; the factor T^2 keeps the size of gradients.

    Source: Hinton et al., https://arxiv.org/abs/1503.02531; direction as in KOALA, https://arxiv.org/abs/2407.05268.
    """
    log_BC = F.log_softmax(student_BC / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_BC, soft_BC, reduction="batchmean")


def prior_shift(counts_C: Tensor) -> Tensor:
    """What logit calibration adds to the logits while a device trains: the log of its class shares.

    A class that the device never saw drops out of the softmax, so that its logit is not pushed down by its absence.
    Source: Zhang et al., FedLC, https://arxiv.org/abs/2209.00189; the form is balanced softmax,
    https://arxiv.org/abs/2007.10740.
    """
    shares_C = counts_C / counts_C.sum()
    return torch.where(counts_C > 0, shares_C.clamp_min(1e-12).log(), torch.full_like(shares_C, -1e4))


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of two feature maps of one shape, each scaled to unit norm per sample."""
    return (F.normalize(student.flatten(1), dim=1) - F.normalize(teacher.flatten(1), dim=1)).square().sum(1).mean()
