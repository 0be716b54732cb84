"""What is held is lent without a copy, taken over by whoever trains, and read by the rest."""

import numpy as np
import pytest
import torch
from torch import nn

from distilfleet.core.errors import UsedUpError
from distilfleet.nn.adam import adam_of, moments_of, resident_moments
from distilfleet.nn.resident import Resident, copied, taken
from distilfleet.nn.weights import put, to_arrays


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def step(module, adam):
    module(torch.ones(5, 4) * torch.arange(5)[:, None]).square().sum().backward()
    adam.step()
    adam.zero_grad()


def test_a_module_works_in_the_memory_that_it_is_lent():
    held = Resident.of(net())
    module = put(net(1), held)
    assert module[0].weight.data_ptr() == held.tensors["0.weight"].data_ptr()
    module[0].weight.data += 1
    np.testing.assert_array_equal(held["0.weight"], module[0].weight.detach().numpy())


def test_arrays_go_into_memory_of_its_own_and_leave_what_was_lent_alone():
    held = Resident.of(net())
    before = copied(held)
    module = put(net(1), held)
    put(module, to_arrays(net(2)))
    for name, array in before.items():
        np.testing.assert_array_equal(held[name], array)
    np.testing.assert_array_equal(to_arrays(module)["0.weight"], to_arrays(net(2))["0.weight"])


def test_who_holds_a_module_is_not_written_over_by_its_next_weights():
    module = net()
    held = Resident.of(module)
    first = copied(held)
    put(module, to_arrays(net(1)))
    np.testing.assert_array_equal(held["0.weight"], first["0.weight"])


def test_what_was_taken_over_says_so():
    held = Resident.of(net())
    own = taken(held)
    assert len(own) == 9
    for read in (lambda: held["0.weight"], lambda: list(held), held.take, lambda: put(net(), held)):
        with pytest.raises(UsedUpError, match="later round"):
            read()


def test_arrays_are_copied_before_they_are_trained():
    arrays = to_arrays(net())
    own = taken(arrays)
    own.tensors["0.weight"].add_(1)
    assert not np.array_equal(own["0.weight"], arrays["0.weight"])


def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match=r"\[4, 4\] numbers for a weight of \[3, 4\]"):
        put(net(), Resident({**Resident.of(net()).tensors, "0.weight": torch.zeros(4, 4)}))


def test_moments_go_on_to_the_bit_whether_held_or_copied():
    ends = []
    for keep in (resident_moments, moments_of):
        module = net()
        moments = {}
        for _ in range(3):
            named = dict(module.named_parameters())
            adam = adam_of(named, 1e-2, moments)
            step(module, adam)
            moments = keep(named, adam)
        ends.append((to_arrays(module), copied(moments)))
    for one, other in zip(*ends, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])
