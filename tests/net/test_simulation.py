"""Both state machines, thousands of times, over a network and disks that fail; and that bugs would
be found."""

import pytest
from planted import PLANTED
from simulated import World
from simulated_reference import BrokenError

BLOCKS, SEEDS = 10, 1000


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_promise_is_kept_under_every_seed(block):
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        try:
            World(seed).run()
        except BrokenError as fault:
            pytest.fail(f"seed {seed}: {fault}")


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_found_within_a_thousand_seeds(bug):
    for seed in range(1000):
        try:
            World(seed, PLANTED[bug]).run()
        except BrokenError:
            return
    pytest.fail(f"not found: {bug}")


def test_the_same_seed_gives_the_same_run():
    for seed in range(5):
        one, two = World(seed).run(), World(seed).run()
        assert (one.events, one.now_s, one.server.state) == (
            two.events,
            two.now_s,
            two.server.state,
        )
