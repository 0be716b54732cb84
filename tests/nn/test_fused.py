"""The fused loss equals the plain one and autograd, in every form of teacher, in float64 and
below."""

from dataclasses import replace

import plain_losses
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from distilfleet.nn import losses
from distilfleet.nn.fused import DenseTeacher, SampledTeacher, TopKTeacher, fused_kd

N, V, H, D, K = 300, 157, 24, 40, 7
"""More rows than two blocks, no multiple of one."""


class Case:
    """Inputs in one type, made from one seed."""

    def __init__(self, dtype=torch.float64, vocabulary=V, teacher_vocabulary=V):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.hidden, self.table = normal(N, H), normal(vocabulary, H) / H**0.5 * 2
        self.teacher = DenseTeacher(
            hidden_ND=normal(N, D), table_VD=normal(teacher_vocabulary, D) / D**0.5 * 2
        )
        self.labels = torch.randint(
            0, min(vocabulary, teacher_vocabulary), (N,), generator=generator
        )
        self.labels[::5] = -100
        self.generator = generator

    @property
    def teacher_logits(self):
        return self.teacher.hidden_ND @ self.teacher.table_VD.T

    def sampled(self, temperature=1.0):
        p = (self.teacher_logits.double() / temperature).softmax(-1)
        ids = torch.multinomial(p, K, replacement=True, generator=self.generator)
        return SampledTeacher(ids_NK=ids, temperature=temperature)

    def top_k(self, temperature=1.0, k=K):
        log_p, ids = (self.teacher_logits / temperature).log_softmax(-1).topk(k, -1)
        return TopKTeacher(ids_NK=ids, log_p_NK=log_p, temperature=temperature)


def run(case, loss_of, *, frozen=False):
    hidden = case.hidden.clone().requires_grad_()
    table = case.table.clone().requires_grad_(not frozen)
    loss = loss_of(hidden, table)
    (3 * loss).backward()
    return loss.detach(), hidden.grad, table.grad


def check(case, fused, plain, tolerance=1e-12):
    for got, wanted in zip(run(case, fused), run(case, plain), strict=True):
        torch.testing.assert_close(got, wanted.to(got.dtype), atol=tolerance, rtol=tolerance)


def plain_kl(case, teacher, logits, temperature):
    mask = case.labels != -100
    if isinstance(teacher, SampledTeacher):
        return plain_losses.sampled_kl(logits, teacher.ids_NK, temperature=temperature, mask_N=mask)
    if isinstance(teacher, TopKTeacher):
        return plain_losses.top_k_kl(
            logits, teacher.ids_NK, teacher.log_p_NK, temperature=temperature, mask_N=mask
        )
    return losses.forward_kl(logits, case.teacher_logits, temperature=temperature, mask_N=mask)


def teacher_of(case, kind, temperature):
    return {
        "dense": case.teacher,
        "sampled": case.sampled(temperature),
        "top-k": case.top_k(temperature),
    }[kind]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["dense", "sampled", "top-k"])
def test_fused_equals_plain(kind, weight, temperature):
    case = Case()
    teacher = teacher_of(case, kind, temperature)

    def fused(hidden, table):
        settings = {"teacher": teacher, "kd_weight": weight, "temperature": temperature}
        return fused_kd(hidden, table, labels_N=case.labels, **settings)

    def plain(hidden, table):
        logits = hidden @ table.T
        entropy = F.cross_entropy(logits, case.labels, ignore_index=-100)
        return weight * plain_kl(case, teacher, logits, temperature) + (1 - weight) * entropy

    check(case, fused, plain)


def test_labels_alone_are_cross_entropy():
    case = Case()
    check(
        case,
        lambda hidden, table: fused_kd(hidden, table, labels_N=case.labels),
        lambda hidden, table: F.cross_entropy(hidden @ table.T, case.labels, ignore_index=-100),
    )


def test_a_teacher_alone_is_divergence_over_every_row():
    case = Case()
    check(
        case,
        lambda hidden, table: fused_kd(hidden, table, teacher=case.teacher, temperature=3.0),
        lambda hidden, table: losses.forward_kl(
            hidden @ table.T, case.teacher_logits, temperature=3.0
        ),
    )


def test_gradients_are_those_of_finite_differences():
    case = Case()
    hidden = case.hidden[:5].clone().requires_grad_()
    table = case.table[:11].clone().requires_grad_()
    teacher = replace(
        case.top_k(k=3),
        ids_NK=torch.tensor([[0, 4, 7]] * 5),
        log_p_NK=torch.tensor([[0.4, 0.2, 0.1]] * 5).log().double(),
    )
    labels = torch.tensor([1, -100, 3, 10, 0])
    assert torch.autograd.gradcheck(
        lambda h, t: fused_kd(h, t, labels_N=labels, teacher=teacher), (hidden, table)
    )


@pytest.mark.parametrize(("student", "teacher"), [(V, V - 20), (V - 20, V)])
def test_rows_that_one_table_lacks_get_no_probability(student, teacher):
    case = Case(vocabulary=student, teacher_vocabulary=teacher)

    def fused(hidden, table):
        return fused_kd(hidden, table, labels_N=case.labels, teacher=case.teacher, temperature=2.0)

    def plain(hidden, table):
        shared = min(student, teacher)
        mask = case.labels != -100
        logits, others = (hidden @ table.T)[:, :shared], case.teacher_logits[:, :shared]
        entropy = F.cross_entropy(logits, case.labels, ignore_index=-100)
        return 0.5 * losses.forward_kl(logits, others, temperature=2.0, mask_N=mask) + 0.5 * entropy

    check(case, fused, plain)


def test_ids_that_the_student_lacks_are_left_out():
    case = Case(vocabulary=V - 20)
    teacher = case.sampled()
    unknown = teacher.ids_NK >= V - 20
    assert unknown.any()
    assert not unknown.all(-1).any()

    def plain(hidden, table):
        log_q = (hidden @ table.T).log_softmax(-1).gather(1, teacher.ids_NK.where(~unknown, 0))
        return -((log_q * ~unknown).sum(-1) / (~unknown).sum(-1)).mean()

    check(case, lambda hidden, table: fused_kd(hidden, table, teacher=teacher), plain)


def test_mass_of_likely_ids_that_the_student_lacks_is_spread():
    case = Case(vocabulary=V - 60)
    whole = case.top_k()
    cut = replace(whole, ids_NK=whole.ids_NK.where(whole.ids_NK < V - 60, V + 7))

    def plain(hidden, table):
        p = whole.log_p_NK.exp() * (whole.ids_NK < V - 60)
        rest = 1 - whole.log_p_NK.exp().sum(-1, keepdim=True)
        p, rest = p / (p.sum(-1, keepdim=True) + rest), rest / (p.sum(-1, keepdim=True) + rest)
        log_q = (hidden @ table.T).log_softmax(-1).gather(1, whole.ids_NK.clamp(max=V - 61))
        left = 1 - (log_q.exp() * (p > 0)).sum(-1, keepdim=True)
        kept = torch.where(p > 0, p * (p.clamp_min(1e-300).log() - log_q), 0.0).sum(
            -1, keepdim=True
        )
        return (kept + rest * (rest.log() - left.log())).mean()

    check(case, lambda hidden, table: fused_kd(hidden, table, teacher=cut), plain)
    check(case, lambda hidden, table: fused_kd(hidden, table, teacher=whole), plain)


def test_a_frozen_table_has_no_gradient_and_changes_nothing_else():
    case = Case()

    def fused(hidden, table):
        return fused_kd(hidden, table, labels_N=case.labels, teacher=case.teacher)

    frozen, trained = run(case, fused, frozen=True), run(case, fused)
    assert frozen[2] is None
    assert torch.equal(frozen[1], trained[1])


def test_without_gradients_the_loss_is_the_same():
    case = Case()
    table = case.table.clone().requires_grad_()
    with torch.no_grad():
        plain = fused_kd(case.hidden, table, labels_N=case.labels)
    assert plain == fused_kd(case.hidden, table, labels_N=case.labels).detach()
    assert not plain.requires_grad


def test_no_row_counts():
    case = Case()
    labels = torch.full((N,), -100)
    loss, gradient, _ = run(
        case, lambda hidden, table: fused_kd(hidden, table, labels_N=labels, teacher=case.teacher)
    )
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_narrow_types_come_close_to_float64(dtype, tolerance):
    case, exact = Case(dtype), Case()

    def fused(given):
        return lambda hidden, table: fused_kd(
            hidden, table, labels_N=given.labels, teacher=given.teacher
        )

    exact.hidden, exact.table = case.hidden.double(), case.table.double()
    exact.teacher = DenseTeacher(
        hidden_ND=case.teacher.hidden_ND.double(), table_VD=case.teacher.table_VD.double()
    )
    got, wanted = run(case, fused(case)), run(exact, fused(exact))
    assert [one.dtype for one in got] == [torch.float32, dtype, dtype]
    for one, other in zip(got, wanted, strict=True):
        assert (one.double() - other).abs().max() <= tolerance * other.abs().max()


def test_float32_states_go_with_a_bfloat16_table():
    case = Case(torch.bfloat16)
    hidden = case.hidden.float().requires_grad_()
    loss = fused_kd(hidden, case.table, labels_N=case.labels, teacher=case.teacher)
    loss.backward()
    assert loss.dtype is hidden.grad.dtype is torch.float32


def test_sampled_ids_are_unbiased():
    case = Case()
    generator = torch.Generator().manual_seed(1)
    hidden, table = case.hidden[:3], case.table
    p = (case.teacher_logits[:3] / 2).softmax(-1)
    ids = torch.multinomial(p, 200_000, replacement=True, generator=generator)
    dense = DenseTeacher(hidden_ND=case.teacher.hidden_ND[:3], table_VD=case.teacher.table_VD)
    gradients = []
    for teacher in (dense, SampledTeacher(ids_NK=ids, temperature=2.0)):
        one = hidden.clone().requires_grad_()
        fused_kd(one, table, teacher=teacher, temperature=2.0).backward()
        gradients.append(one.grad)
    torch.testing.assert_close(*gradients, atol=3e-3, rtol=0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"teacher": None, "labels_N": None}, "labels, a teacher or both"),
        ({"kd_weight": 1.5}, "kd_weight lies between 0 and 1"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"labels_N": torch.zeros(3)}, r"\(3,\) labels for 300 rows"),
        (
            {"temperature": 2.0, "teacher": "sampled"},
            "taken at temperature 1.0, the loss is at 2.0",
        ),
        ({"teacher": "short"}, "speaks of 2 rows"),
    ],
)
def test_what_does_not_go_together_is_refused(fault, message):
    case = Case()
    teachers = {
        "sampled": case.sampled(),
        "short": SampledTeacher(ids_NK=torch.zeros(2, 1)),
        None: None,
    }
    settings = {"labels_N": case.labels, "teacher": case.teacher, **fault}
    if isinstance(settings["teacher"], str):
        settings["teacher"] = teachers[settings["teacher"]]
    with pytest.raises(ValueError, match=message):
        fused_kd(case.hidden, case.table, **settings)


def test_an_output_table_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\(300, 24\) do not fit an output table \(157, 23\)"):
        fused_kd(Case().hidden, Case().table[:, 1:], labels_N=Case().labels)
