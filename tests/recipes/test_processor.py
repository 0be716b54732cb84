"""What equal bits need beside versions: the processor's kernels, in the record, told to agents, and
at a resume."""

import logging
from dataclasses import replace

import numpy as np
import torch

from distilfleet.core.types import Dataset
from distilfleet.cost import catalogue
from distilfleet.methods import fedavg
from distilfleet.recipes.resume import elsewhere
from distilfleet.service.agent_flags import Consent
from distilfleet.service.spec import build_worker, spec_of
from distilfleet.training.loop import PROCESSOR, processor, versions


def test_the_processor_is_named_among_versions(monkeypatch):
    said = versions()[PROCESSOR]
    assert f"torch {torch.backends.cpu.get_cpu_capability()}" in said
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor() == f"{said}, ONEDNN_MAX_CPU_ISA=AVX2"


def test_a_device_that_computes_otherwise_says_so_and_takes_part(caplog):
    spec = spec_of(fedavg.tiny(), 0)
    own = Dataset(np.zeros((4, 8), np.float32), np.array([0, 1, 2, 0]))
    with caplog.at_level(logging.WARNING):
        build_worker(spec, catalogue.device("rpi-5", "pi"), own, Consent())
        assert not caplog.records
        strange = replace(spec, versions={**spec.versions, PROCESSOR: "abacus"})
        build_worker(strange, catalogue.device("rpi-5", "pi"), own, Consent())
    assert "the server with abacus" in caplog.text


def test_a_run_that_goes_on_elsewhere_says_so():
    assert elsewhere({"versions": versions()}) == []
    assert elsewhere({"versions": {}}) == []  # of a version that did not say
    assert "Begun on abacus" in elsewhere({"versions": {PROCESSOR: "abacus"}})[0]
