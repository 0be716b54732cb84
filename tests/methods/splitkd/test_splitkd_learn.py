"""The server's step on devices of several cuts is the step of the unsplit models."""

import numpy as np
import pytest
import torch

from distilfleet.methods.splitkd.modules import (
    DIVERGENCES,
    DevicePart,
    Loss,
    ServerModules,
    Smashed,
)
from distilfleet.methods.splitkd.teacher_cache import TeacherCache
from distilfleet.nn import split
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.losses import forward_kl
from distilfleet.nn.pretrain import mask_of

VOCABULARY, CONTEXT = 40, 8


def models():
    teacher = LanguageModel(name="llama:64x2", vocabulary=VOCABULARY, context=CONTEXT).build(1)
    student = LanguageModel(name="llama:32x2", vocabulary=VOCABULARY, context=CONTEXT).build(2)
    return teacher.requires_grad_(False), student


def sent(module, ids_BT, lengths_B, cut):
    """What a device with this cut would send, unquantised."""
    rows_BTD = split.token_table(module).detach()[torch.from_numpy(ids_BT)]
    mask_BT = mask_of(lengths_B, CONTEXT)
    with torch.no_grad():
        values = split.Front(module, cut)(rows_BTD, mask_BT, split.positions(mask_BT))
    return Smashed(
        values=values.reshape(-1, values.shape[-1]).numpy(),
        index_BT=None,
        cut=cut,
        lengths_B=lengths_B,
    )


def part_of(teacher, student, number, cut, count=2):
    rng = np.random.default_rng(number)
    ids_BT = rng.integers(0, VOCABULARY, (count, CONTEXT))
    lengths_B = np.array([CONTEXT, 5, CONTEXT, 3][:count])
    digests = np.full((count, 16), number, np.uint8)
    digests[:, 0] = np.arange(count)
    return ids_BT, DevicePart(
        student=sent(student, ids_BT, lengths_B, cut),
        teacher=sent(teacher, ids_BT, lengths_B, 0),
        need_B=np.ones(count, bool),
        digests_B=digests,
        labels=ids_BT,
    )


def whole(teacher, student, batches, kd_weight, divergence=forward_kl):
    """The same loss on unsplit models, summed over positions."""
    total = torch.zeros(())
    for ids_BT, lengths_B in batches:
        ids, mask = torch.from_numpy(ids_BT), mask_of(lengths_B, CONTEXT)
        facts = {"attention_mask": mask, "position_ids": split.positions(mask), "use_cache": False}
        counted = mask[:, 1:] > 0
        logits = student(input_ids=ids, **facts).logits[:, :-1][counted]
        with torch.no_grad():
            soft = teacher(input_ids=ids, **facts).logits[:, :-1][counted]
        ce = torch.nn.functional.cross_entropy(logits, ids[:, 1:][counted], reduction="sum")
        total = total + (1 - kd_weight) * ce + kd_weight * len(logits) * divergence(logits, soft)
    return total


@pytest.mark.parametrize("cuts", [(0,), (1,), (2,), (0, 1, 2), (2, 0)])
def test_split_gradients_are_those_of_the_whole(cuts):
    teacher, student = models()
    pairs = [part_of(teacher, student, number, cut) for number, cut in enumerate(cuts)]
    parts = [part for _, part in pairs]
    studio, loss = ServerModules(teacher, student, None), Loss(teacher_cache="none")
    studio.begin({}, {}, 1e-3, shared=())
    done = studio.forward(parts, loss, TeacherCache.of("none", {}), np.random.default_rng(0))
    studio.backward(done, loss, None)
    got = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    for parameter in student.parameters():
        parameter.grad = None
    whole(teacher, student, [(ids, part.student.lengths_B) for ids, part in pairs], 0.5).backward()
    held = split.parts(student)
    shallowest = min(cuts)
    for name in held.back(max(cuts)):
        torch.testing.assert_close(
            got[name], dict(student.named_parameters())[name].grad, atol=1e-4, rtol=1e-4
        )
    for name in held.front(shallowest):
        assert name not in got, "no device left these layers to the server"


def test_the_gradient_of_the_smashed_data_is_that_of_the_rows():
    teacher, student = models()
    ids_BT, part = part_of(teacher, student, 0, 0)
    studio, loss = ServerModules(teacher, student, None), Loss(teacher_cache="none")
    studio.begin({}, {}, 1e-3, shared=())
    done = studio.forward([part], loss, TeacherCache.of("none", {}), np.random.default_rng(0))
    studio.backward(done, loss, None)
    (leaf,) = done.gradients()
    table = np.zeros((VOCABULARY, 32), np.float32)
    np.add.at(table, ids_BT.ravel(), leaf)
    for parameter in student.parameters():
        parameter.grad = None
    whole(teacher, student, [(ids_BT, part.student.lengths_B)], 0.5).backward()
    name = split.parts(student).embedding[0]
    np.testing.assert_allclose(
        table, dict(student.named_parameters())[name].grad.numpy(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_other_divergences_are_those_of_the_whole_models(divergence):
    teacher, student = models()
    ids_BT, part = part_of(teacher, student, 0, 0)
    studio, loss = (
        ServerModules(teacher, student, None),
        Loss(teacher_cache="none", divergence=divergence),
    )
    studio.begin({}, {}, 1e-3, shared=())
    done = studio.forward([part], loss, TeacherCache.of("none", {}), np.random.default_rng(0))
    studio.backward(done, loss, None)
    got = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    for parameter in student.parameters():
        parameter.grad = None
    lengths_B = part.student.lengths_B
    whole(teacher, student, [(ids_BT, lengths_B)], 0.5, DIVERGENCES[divergence]).backward()
    for name, gradient in got.items():
        torch.testing.assert_close(
            gradient, dict(student.named_parameters())[name].grad, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("sort", ["ids", "top", "hidden"])
def test_what_is_remembered_stands_in_for_the_teacher(sort):
    teacher, student = models()
    _, part = part_of(teacher, student, 0, 0)
    studio, loss = (
        ServerModules(teacher, student, None),
        Loss(teacher_cache=sort, draws=VOCABULARY if sort == "top" else 4000),
    )
    memory = TeacherCache.of(sort, {})
    studio.begin({}, {}, 1e-3, shared=())
    rng = np.random.default_rng(0)
    fresh = studio.forward([part], loss, memory, rng)
    studio.backward(fresh, loss, None)
    asked = DevicePart(
        student=part.student,
        teacher=None,
        need_B=np.zeros(2, bool),
        digests_B=part.digests_B,
        labels=part.labels,
    )
    again = studio.forward([asked], loss, TeacherCache.of(sort, memory.stored()), rng)
    studio.backward(again, loss, None)
    before, after = fresh.gradients()[0], again.gradients()[0]
    assert np.linalg.norm(after - before) < 0.1 * np.linalg.norm(before)
    assert memory.knows(part.digests_B).all()


def test_a_sample_is_remembered_once():
    memory = TeacherCache.of("ids", {})
    digests = np.arange(32, dtype=np.uint8).reshape(2, 16)
    for _ in range(2):
        memory.add(digests, {"ids": np.zeros((2, 7, 3), np.uint16)})
    assert len(memory.stored()["digests"]) == 2
