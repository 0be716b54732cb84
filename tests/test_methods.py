"""Every module in `methods`, and KOALA in all its modes, keeps the contract in `contract.py`."""

import importlib
import inspect
import pkgutil
from dataclasses import fields, replace
from functools import cache, partial

import numpy as np
import pytest
import torch

import contract
from contract import Case, sentences, windows
from distilfleet import methods
from distilfleet.core.chance import stream
from distilfleet.core.types import Dataset
from distilfleet.methods import koala
from distilfleet.methods.splitkd import server
from distilfleet.nn import zoo
from distilfleet.nn.distil import Distillation
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.refine import CHOICES
from distilfleet.nn.train import LocalTraining
from distilfleet.trust import robust

FOUND = [module.name for module in pkgutil.iter_modules(methods.__path__)]
CHECKS = {name: check for name, check in inspect.getmembers(contract) if name.startswith("check_")}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@cache
def made(make):
    """Methods are frozen, so all checks can have the same one: to trace a language model takes
    longer than a round."""
    return make()


def tiny(name):
    module = importlib.import_module(f"distilfleet.methods.{name}")
    make = partial(made, module.tiny if hasattr(module, "tiny") else server.tiny)
    return Case(make=make, shape=(8,), draw=windows) if of_text(make()) else Case(make=make)


def of_text(method):
    """Whether its models are language models, which learn from windows."""
    return any(isinstance(getattr(method, field.name), LanguageModel) for field in fields(method))


def splitkd_of(draw=windows, *, without_teacher=False, **changed):
    """Split KD with settings changed: those of its loss and of the split, or of the method
    itself."""

    def make():
        method = made(server.tiny)
        parts = {name: getattr(method, name) for name in ("split", "loss")}
        for name, part in parts.items():
            own = {key: value for key, value in changed.items() if key in type(part).__slots__}
            parts[name] = replace(part, **own)
        rest = {
            key: value
            for key, value in changed.items()
            if not any(hasattr(p, key) for p in parts.values())
        }
        if without_teacher:
            rest["teacher"] = None
        if "classes" in changed:
            rest |= {
                who: replace(getattr(method, who), classes=changed["classes"])
                for who in ("teacher", "student")
            }
        return replace(method, **parts, **rest)

    return Case(make=make, shape=(8,), draw=draw)


SPLITS = {
    "a cut": splitkd_of(cut=1),
    "labels kept": splitkd_of(labels="kept"),
    "labels kept behind a cut": splitkd_of(labels="kept", cut=1),
    "adapters": splitkd_of(lora_rank=2, train_rows=False, cut=1),
    "adapters and labels kept": splitkd_of(lora_rank=2, train_rows=False, labels="kept"),
    "no teacher": splitkd_of(without_teacher=True),
    "half floats": splitkd_of(bits=16, gradient_bits=16),
    "four bits": splitkd_of(bits=4),
    "largest probabilities": splitkd_of(teacher_cache="top", draws=4, temperature=2.0),
    "hidden states": splitkd_of(teacher_cache="hidden"),
    "nothing cached": splitkd_of(teacher_cache="none"),
    "one micro-batch": splitkd_of(micro_batches=1),
    "reverse KL": splitkd_of(divergence="reverse", teacher_cache="hidden"),
    "pipelined": splitkd_of(pipelined=True, cut=1),
    "noise": splitkd_of(noise=0.5, labels="kept"),
    "noise on frozen rows": splitkd_of(noise=0.5, train_rows=False),
    "noise behind a cut": splitkd_of(noise=0.5, cut=1),
    "classes": splitkd_of(sentences, classes=3),
    "classes kept behind a cut": splitkd_of(sentences, classes=3, labels="kept", cut=1),
}


def koala_of(mode, wire, refine="mean", names=("mlp-xs", "mlp-s"), shape=(8,), **how):
    """A small KOALA; in homogeneous mode all devices have the first model."""

    def make():
        rng = np.random.default_rng(0)
        proxy = Dataset(rng.normal(size=(12, *shape)).astype(np.float32))
        own = names if mode == "heterogeneous" else names[:1] * 2
        smalls = {
            kind: zoo.model(name, shape, 3)
            for kind, name in zip(("rpi-4b", "rpi-5"), own, strict=True)
        }
        settings = koala.KoalaSettings(
            mode=mode,
            wire=wire,
            refine=refine,
            mixtures=8,
            local=LocalTraining(passes=2, batch=8, calibrate=True),
            reverse=Distillation(passes=1, batch=8),
            forward=Distillation(passes=1, batch=8, feature_weight=0.1),
        )
        large = zoo.model("mlp-l" if len(shape) == 1 else "conv-s", shape, 3)
        return koala.Koala(
            large=large, smalls=smalls, proxy=proxy, settings=replace(settings, **how)
        )

    return Case(make=make, shape=shape)


PIXELS = (1, 8, 8)
KOALAS = {
    **{
        f"{mode}, {wire}": koala_of(mode, wire, "prior")
        for mode in ("homogeneous", "heterogeneous")
        for wire in ("weights", "soft-labels")
    },
    "moving average": koala_of("homogeneous", "weights", ema=0.5),
    "moving average, soft-labels": koala_of("heterogeneous", "soft-labels", ema=0.5),
    "early stop": koala_of(
        "homogeneous", "weights", reverse=Distillation(passes=3, batch=8, early_stop=True)
    ),
    "batch normalisation": koala_of(
        "homogeneous", "weights", names=("conv-bn", "conv-bn"), shape=PIXELS
    ),
    "images": koala_of("heterogeneous", "weights", names=("conv-bn", "conv-xs"), shape=PIXELS),
}


def utterances(count, shape, owner):
    """Hashed words of texts, most of them of the class's own; every third text ends early."""
    rng = stream(7, owner)
    labels = rng.integers(0, 3, count)
    ids = rng.integers(0, 60, (count, *shape)) + 1_000_000 * labels[:, None]
    ids[::3, shape[0] // 2 :] = -1
    return Dataset(ids.astype(np.int32), labels)


def on_texts(case):
    """The same method with nets of texts, and a proxy of texts where it has one."""

    def make():
        method = made(case.make)
        net = zoo.model("words-s", (8,), 3, of_texts=True)
        proxy = Dataset(utterances(12, (8,), "proxy").inputs)
        smalls = dict.fromkeys(("rpi-4b", "rpi-5"), net)
        new = {"model": net, "large": net, "smalls": smalls, "proxy": proxy}
        named = {field.name for field in fields(method)}
        return replace(method, **{name: new[name] for name in named & new.keys()})

    return Case(make=make, shape=(8,), draw=utterances)


OF_CLASSES = ("fedavg", "feddf", "fedmd", "local", "central", "fedprox", "scaffold")
ON_TEXTS = {
    **{name: on_texts(tiny(name)) for name in OF_CLASSES},
    "koala": on_texts(koala_of("homogeneous", "weights")),
    "koala, soft-labels": on_texts(koala_of("homogeneous", "soft-labels")),
}


@pytest.mark.parametrize(
    "check", ["check_learns", "check_frames", "check_worker", "check_cohort", "check_resume"]
)
@pytest.mark.parametrize("case", ON_TEXTS.values(), ids=ON_TEXTS)
def test_methods_of_classes_keep_the_contract_on_texts(case, check, tmp_path):
    held_to(CHECKS[check], case, tmp_path)


@pytest.mark.parametrize("check", ["check_frames", "check_worker", "check_resume", "check_metrics"])
@pytest.mark.parametrize("case", SPLITS.values(), ids=SPLITS)
def test_splitkd_keeps_the_contract_in_every_form(case, check, tmp_path):
    if check == "check_worker" and case is SPLITS["pipelined"]:
        pytest.skip("a gradient that is late needs its graph, which no snapshot can hold")
    held_to(CHECKS[check], case, tmp_path)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_splitkd_keeps_the_whole_contract_behind_a_cut(check, tmp_path):
    held_to(check, SPLITS["labels kept behind a cut"], tmp_path)


def held_to(check, case, folder):
    check(case, folder) if "folder" in inspect.signature(check).parameters else check(case)


def test_there_are_methods_and_checks():
    assert {
        "koala",
        "fedavg",
        "fedmd",
        "feddf",
        "local",
        "central",
        "splitkd",
        "koala_text",
    } <= set(FOUND)
    assert len(CHECKS) >= 10


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", FOUND)
def test_every_method_keeps_the_contract(name, check, tmp_path):
    held_to(check, tiny(name), tmp_path)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", KOALAS.values(), ids=KOALAS)
def test_koala_keeps_the_contract_in_every_mode(case, check, tmp_path):
    held_to(check, case, tmp_path)


@pytest.mark.parametrize("rule", robust.CHOICES[1:])
@pytest.mark.parametrize("name", ["fedavg", "fedavg_text", "feddf", "fedmd", "scaffold"])
def test_a_method_keeps_the_contract_under_every_rule(name, rule, tmp_path):
    plain = tiny(name)
    case = replace(plain, make=lambda: replace(plain.make(), aggregate=rule))
    for check in ("check_metrics", "check_devices_may_vanish"):
        held_to(CHECKS[check], case, tmp_path)


@pytest.mark.parametrize("wire", ["weights", "soft-labels"])
@pytest.mark.parametrize("rule", robust.CHOICES[1:])
def test_koala_keeps_the_contract_under_every_rule(rule, wire, tmp_path):
    case = koala_of("heterogeneous", wire, "entropy", aggregate=rule, agree=rule)
    for check in ("check_metrics", "check_resume"):
        held_to(CHECKS[check], case, tmp_path)


@pytest.mark.parametrize("wire", ["weights", "soft-labels"])
@pytest.mark.parametrize("choice", CHOICES)
def test_koala_keeps_the_contract_with_every_way_to_refine(choice, wire, tmp_path):
    case = koala_of("heterogeneous", wire, choice)
    for check in ("check_metrics", "check_cohort", "check_frames", "check_resume"):
        held_to(CHECKS[check], case, tmp_path)
