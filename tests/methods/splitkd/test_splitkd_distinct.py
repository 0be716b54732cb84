"""Sending a row per token, as published, is the same arithmetic as sending each row once."""

from dataclasses import replace

import numpy as np
from small_split import BOARD, windows

from distilfleet.core.engine import rounds
from distilfleet.core.types import Dataset
from distilfleet.methods.splitkd.server import tiny
from distilfleet.plan.sample import Sample
from distilfleet.sim.fleet import SimFleet, World


def trained(distinct):
    method = tiny()
    method = replace(
        method, split=replace(method.split, bits=16, gradient_bits=16, distinct=distinct, steps=3)
    )
    data = Dataset(windows(6).inputs // 10)  # four rows, often
    fleet = SimFleet({BOARD.id: BOARD}, lambda device: data, method, World(server=BOARD))
    state = method.init(1)
    for one in rounds(method, Sample(per_round=1, seed=0), fleet, state, range(1, 3)):
        state = one.state
    return state.student, fleet.tally().devices


def test_a_row_per_token_learns_the_same_and_sends_more():
    (once, few), (each, many) = trained(distinct=True), trained(distinct=False)
    for name, weights in once.items():
        np.testing.assert_allclose(weights, each[name], atol=3e-4)
    assert many.up_bytes > few.up_bytes
    assert many.down_bytes > few.down_bytes
