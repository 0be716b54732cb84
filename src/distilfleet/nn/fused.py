"""Output table and distillation loss in one pass: logits of a few rows at a time, their gradient
made on the way.

The usual code holds several tables of [tokens, vocabulary]; here there are only ever a few blocks
of 128 rows, because the gradient of the loss with respect to logits is known in closed form and
made in the forward pass. It costs the same products. The plain losses in `losses.py` say what is
computed.

Products run in the output table's type, as they do in the model itself; softmax, losses and sums
run in float32 (float64 if the table is). With a bfloat16 table logits are rounded to 8 bits, in the
plain way as here.

Axes: N rows (tokens), V vocabulary, H width of the student, D width of the teacher, K ids of a row,
R rows of a block.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .losses import tail

ROWS = 128
"""Rows of a block. Fewer leave products slow, more cost memory and gain nothing."""
TABLE_ROWS = 16_384
"""Rows of the table's gradient that are made in one product if the table is 16 bits."""
IGNORE = -100
"""The label of a row that does not count."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DenseTeacher:
    """Last hidden states and the output table: the exact distribution, through one more product."""

    hidden_ND: Tensor
    table_VD: Tensor
    """May have more or fewer rows than the student's: what one lacks gets no probability in the
    other."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SampledTeacher:
    """Ids drawn from the teacher, repeats included. Unbiased; the loss lacks the teacher's entropy,
    a constant."""

    ids_NK: Tensor
    temperature: float = 1.0
    """The temperature at which the ids were drawn."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TopKTeacher:
    """The likeliest ids, different ones in each row, and their log-probabilities; what they lack of
    1 is the tail."""

    ids_NK: Tensor
    log_p_NK: Tensor
    temperature: float = 1.0
    """The temperature at which the probabilities were taken."""


Teacher = DenseTeacher | SampledTeacher | TopKTeacher


def fused_kd(
    hidden_NH: Tensor,
    table_VH: Tensor,
    *,
    labels_N: Tensor | None = None,
    teacher: Teacher | None = None,
    kd_weight: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """kd_weight T^2 KL(teacher || student) + (1 - kd_weight) CE, in nats, averaged over the rows
    that count.

    Args:
        hidden_NH: the student's last hidden states.
        table_VH: its output table; its gradient is made only if it requires one.
        labels_N: the right ids, and -100 for rows that count in neither loss. None: no CE, every
            row counts.
        teacher: what it says of the same rows. None: CE alone, at full weight.
        kd_weight: between 0 and 1. Without labels KL has full weight.
        temperature: of both sides of the KL; CE is at 1.

    Returns:
        A scalar, float32 or float64. Gradients are ready: its backward pass only scales them.

    Raises:
        ValueError: shapes, shares or temperatures do not go together.
    """
    share = 0.0 if teacher is None else 1.0 if labels_N is None else kd_weight
    task = _Task(
        labels_N=labels_N,
        teacher=teacher,
        kd_weight=share,
        temperature=temperature,
        wants_grad=torch.is_grad_enabled(),
    )
    _check(hidden_NH, table_VH, task)
    loss: Tensor = _Fused.apply(hidden_NH, table_VH, task)  # type: ignore[no-untyped-call]
    return loss


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Task:
    labels_N: Tensor | None
    teacher: Teacher | None
    kd_weight: float
    temperature: float
    wants_grad: bool


class _Fused(torch.autograd.Function):
    """What autograd needs of `fused_kd`: losses forward, ready-made gradients backward."""

    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, table_VH: Tensor, task: _Task) -> Tensor:
        needs_hidden, needs_table, _ = ctx.needs_input_grad
        with torch.autocast(hidden_NH.device.type, enabled=False):
            sums = _Sums.over(
                hidden_NH,
                table_VH,
                task,
                wants_hidden=task.wants_grad and needs_hidden,
                wants_table=task.wants_grad and needs_table,
            )
        ctx.save_for_backward(sums.hidden_NH, sums.table_VH)
        ctx.dtype = table_VH.dtype
        ctx.count = sums.count
        mean = sums.loss / sums.count
        return mean.to(_exact(table_VH))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_NH, table_VH = ctx.saved_tensors
        scale = scale / ctx.count
        if hidden_NH is not None:
            hidden_NH = hidden_NH * scale.to(hidden_NH.dtype)
        if table_VH is not None:
            table_VH = (table_VH * scale).to(ctx.dtype)
        return hidden_NH, table_VH, None


@dataclass(slots=True, eq=False, kw_only=True)
class _Sums:
    """The loss over the rows that count, and its gradients as far as they are wanted."""

    count: int
    loss: Tensor
    hidden_NH: Tensor | None
    table_VH: Tensor | None

    @classmethod
    def over(
        cls,
        hidden_NH: Tensor,
        table_VH: Tensor,
        task: _Task,
        *,
        wants_hidden: bool,
        wants_table: bool,
    ) -> "_Sums":
        rows_M = _counting(hidden_NH, task.labels_N)
        weights_VH = table_VH.detach()[: _vocabulary(table_VH, task.teacher)]
        sums = cls(
            count=max(1, len(rows_M)),
            loss=torch.zeros((), dtype=torch.float64, device=hidden_NH.device),
            hidden_NH=torch.zeros_like(hidden_NH) if wants_hidden else None,
            table_VH=torch.zeros_like(table_VH, dtype=_exact(table_VH)) if wants_table else None,
        )
        blocks = _blocks(weights_VH, min(ROWS, sums.count))
        for rows_R in torch.split(rows_M, ROWS):
            hidden_RH = hidden_NH.detach()[rows_R].to(weights_VH.dtype)
            used = [block[: len(rows_R)] for block in blocks]
            gradient_RV = sums._add_loss(hidden_RH, weights_VH, rows_R, task, used)
            sums._add_gradients(gradient_RV.to(weights_VH.dtype), hidden_RH, weights_VH, rows_R)
        return sums

    def _add_loss(
        self,
        hidden_RH: Tensor,
        weights_VH: Tensor,
        rows_R: Tensor,
        task: _Task,
        blocks: list[Tensor],
    ) -> Tensor:
        """Adds the loss of these rows; gives its gradient with respect to their logits, in one of
        the blocks."""
        logits_RV, gradient_RV, log_q_RV, other_RV = blocks
        _multiply(hidden_RH, weights_VH, logits_RV)
        soft_share = task.kd_weight
        hard_share = 1 - soft_share
        labels_N = task.labels_N if hard_share > 0 else None
        if labels_N is not None:
            self.loss += hard_share * _cross_entropy(logits_RV, labels_N[rows_R], gradient_RV)
            gradient_RV.mul_(hard_share)
        if soft_share == 0:
            return gradient_RV
        torch.log_softmax(logits_RV.div_(task.temperature), -1, out=log_q_RV)
        divergence = _divergence(task, rows_R, log_q_RV, logits_RV, other_RV)
        self.loss += soft_share * task.temperature**2 * divergence
        log_q_RV.mul_(soft_share * task.temperature)
        return log_q_RV if labels_N is None else gradient_RV.add_(log_q_RV)

    def _add_gradients(
        self, gradient_RV: Tensor, hidden_RH: Tensor, weights_VH: Tensor, rows_R: Tensor
    ) -> None:
        if self.hidden_NH is not None:
            self.hidden_NH[rows_R] = (gradient_RV @ weights_VH).to(self.hidden_NH.dtype)
        if self.table_VH is None:
            return
        table_VH = self.table_VH[: len(weights_VH)]
        for at in range(0, len(weights_VH), TABLE_ROWS):
            rows = slice(at, at + TABLE_ROWS)
            gradient_TR = gradient_RV[:, rows].T
            if table_VH.dtype is hidden_RH.dtype:
                table_VH[rows].addmm_(gradient_TR, hidden_RH)
            else:
                table_VH[rows] += gradient_TR @ hidden_RH


# --- of one block: the summed loss is returned, gradients with respect to logits are left in place


def _cross_entropy(logits_RV: Tensor, labels_R: Tensor, out_RV: Tensor) -> Tensor:
    labels_R1 = labels_R.long()[:, None]
    torch.log_softmax(logits_RV, -1, out=out_RV)
    loss: Tensor = -out_RV.gather(1, labels_R1).double().sum()
    out_RV.exp_().scatter_add_(1, labels_R1, torch.full_like(out_RV[:, :1], -1.0))
    return loss


def _divergence(
    task: _Task, rows_R: Tensor, log_q_RV: Tensor, spare_RV: Tensor, other_RV: Tensor
) -> Tensor:
    """The divergence of the teacher from the student, whose tempered log-probabilities become the
    gradient."""
    teacher = task.teacher
    assert teacher is not None
    if isinstance(teacher, DenseTeacher):
        table_VD = teacher.table_VD.detach()[: log_q_RV.shape[1]]
        hidden_RD = teacher.hidden_ND.detach()[rows_R].to(table_VD.dtype)
        _multiply(hidden_RD, table_VD, spare_RV)
        torch.log_softmax(spare_RV.div_(task.temperature), -1, out=other_RV)
        return _dense(other_RV, log_q_RV, spare_RV)
    ids_RK = teacher.ids_NK[rows_R].long()
    if isinstance(teacher, SampledTeacher):
        return _sampled(ids_RK, log_q_RV)
    return _top_k(ids_RK, teacher.log_p_NK[rows_R].to(log_q_RV.dtype), log_q_RV)


def _dense(log_p_RV: Tensor, log_q_RV: Tensor, p_RV: Tensor) -> Tensor:
    torch.exp(log_p_RV, out=p_RV)
    loss: Tensor = log_p_RV.sub_(log_q_RV).mul_(p_RV).sum(-1).double().sum()
    log_q_RV.exp_().sub_(p_RV)
    return loss


def _sampled(ids_RK: Tensor, log_q_RV: Tensor) -> Tensor:
    """Ids that the student does not have are left out; a row without any other adds nothing."""
    known_RK = ids_RK < log_q_RV.shape[1]
    ids_RK = ids_RK.where(known_RK, 0)
    known_R1 = known_RK.sum(-1, keepdim=True).clamp_min(1)
    share_RK = known_RK / known_R1.to(log_q_RV.dtype)
    log_q_RK = log_q_RV.gather(1, ids_RK)
    loss: Tensor = -(log_q_RK * share_RK).double().sum()
    gradient_RV = log_q_RV.exp_().mul_(known_RK.any(-1, keepdim=True))
    gradient_RV.scatter_add_(1, ids_RK, -share_RK)
    return loss


def _top_k(ids_RK: Tensor, log_p_RK: Tensor, log_q_RV: Tensor) -> Tensor:
    """q - p at the listed ids, q (1 - tail p / tail q) elsewhere. The mass of ids that the student
    lacks is spread."""
    known_RK = ids_RK < log_q_RV.shape[1]
    ids_RK = ids_RK.where(known_RK, 0)
    p_RK, tail_p_R1 = _spread(log_p_RK, known_RK)
    log_q_RK = log_q_RV.gather(1, ids_RK)
    q_RK = log_q_RK.exp() * known_RK
    tail_q_R1 = (1 - q_RK.sum(-1, keepdim=True)).clamp_min(torch.finfo(q_RK.dtype).eps)
    log_ratio_R1 = tail_p_R1.log() - tail_q_R1.log()
    entropy = torch.special.xlogy(p_RK, p_RK).sum()
    loss: Tensor = entropy - (p_RK * log_q_RK).sum() + (tail_p_R1 * log_ratio_R1).sum()
    ratio_R1 = tail_p_R1 / tail_q_R1
    gradient_RV = log_q_RV.exp_().mul_(1 - ratio_R1)
    gradient_RV.scatter_add_(1, ids_RK, q_RK * ratio_R1 - p_RK)
    return loss.double()


def _spread(log_p_RK: Tensor, known_RK: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the ids that are known, and of the tail, which add up to 1."""
    tail_R1 = tail(log_p_RK)[:, None]
    p_RK = log_p_RK.exp() * known_RK
    whole_R1 = p_RK.sum(-1, keepdim=True) + tail_R1
    return p_RK / whole_R1, tail_R1 / whole_R1


# --- shapes ---------------------------------------------------------------------------------------


def _multiply(hidden_RH: Tensor, table_VH: Tensor, out_RV: Tensor) -> None:
    """Logits into a buffer that may be wider than the table's type."""
    if out_RV.dtype is table_VH.dtype:
        torch.mm(hidden_RH, table_VH.T, out=out_RV)
    else:
        out_RV.copy_(hidden_RH @ table_VH.T)


def _blocks(weights_VH: Tensor, rows: int) -> list[Tensor]:
    """Logits, gradient and two more; memory that is never touched takes none."""
    shape = (rows, len(weights_VH))
    return [
        torch.empty(shape, dtype=_exact(weights_VH), device=weights_VH.device) for _ in range(4)
    ]


def _exact(table: Tensor) -> torch.dtype:
    return torch.promote_types(table.dtype, torch.float32)


def _counting(hidden_NH: Tensor, labels_N: Tensor | None) -> Tensor:
    if labels_N is None:
        return torch.arange(len(hidden_NH), device=hidden_NH.device)
    return (labels_N != IGNORE).nonzero().flatten()


def _vocabulary(table_VH: Tensor, teacher: Teacher | None) -> int:
    """Rows that both have: what is padding in one table must get no probability in the other."""
    most = len(teacher.table_VD) if isinstance(teacher, DenseTeacher) else len(table_VH)
    return min(len(table_VH), most)


def _check(hidden_NH: Tensor, table_VH: Tensor, task: _Task) -> None:
    if task.labels_N is None and task.teacher is None:
        raise ValueError("a loss needs labels, a teacher or both")
    if not 0 <= task.kd_weight <= 1 or task.temperature <= 0:
        raise ValueError(
            f"kd_weight lies between 0 and 1 and temperature above 0; they are {task.kd_weight} "
            f"and {task.temperature}"
        )
    _check_shapes(hidden_NH, table_VH, task.labels_N)
    if task.teacher is not None:
        _check_teacher(task.teacher, len(hidden_NH), task.temperature)


def _check_shapes(hidden_NH: Tensor, table_VH: Tensor, labels_N: Tensor | None) -> None:
    if hidden_NH.dim() != 2 or table_VH.dim() != 2 or hidden_NH.shape[1] != table_VH.shape[1]:
        raise ValueError(
            f"hidden states {tuple(hidden_NH.shape)} do not fit an output table "
            f"{tuple(table_VH.shape)}"
        )
    if labels_N is not None and labels_N.shape != hidden_NH.shape[:1]:
        raise ValueError(f"{tuple(labels_N.shape)} labels for {len(hidden_NH)} rows")


def _check_teacher(teacher: Teacher, rows: int, temperature: float) -> None:
    first = teacher.hidden_ND if isinstance(teacher, DenseTeacher) else teacher.ids_NK
    if len(first) != rows:
        raise ValueError(f"the teacher speaks of {len(first)} rows, the student of {rows}")
    if not isinstance(teacher, DenseTeacher) and teacher.temperature != temperature:
        raise ValueError(
            f"the teacher's signal was taken at temperature {teacher.temperature}, the loss is at "
            f"{temperature}: take it anew, or the loss is biased"
        )
