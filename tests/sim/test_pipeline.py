"""With m micro-batches in flight a step takes the longest stage, and an m-th of the others."""

import pytest
from sim_parts import ask, board, fleet, seconds

from distilfleet.core.engine import drive
from distilfleet.core.types import Collect, Load, Reply, Start, Wave, Work


def step(devices, batches, flops, server_flops):
    """One step of a hand-driven round: all micro-batches start at once, the server works on each as
    it comes."""
    tickets = []
    for b in range(batches):
        wave = Wave(
            jobs=[ask(device, flops=flops / batches, name=f"{b}:{device}") for device in devices]
        )
        tickets.append((yield Start(wave)))
    answered = 0
    for ticket in tickets:
        results = yield Collect(ticket)
        answered += sum(isinstance(result, Reply) for result in results)
        yield Work(Load(flops=server_flops / batches))
    return answered


SLOWEST = {
    "the downlink": {"down": 800.0, "up": 8e4, "flops": 1e8, "server": 1e8},
    "the processor": {"down": 8e4, "up": 8e4, "flops": 9e9, "server": 1e8},
    "the uplink": {"down": 8e4, "up": 800.0, "flops": 1e8, "server": 1e8},
    "the server": {"down": 8e4, "up": 8e4, "flops": 1e8, "server": 9e9},
    "none": {"down": 8e3, "up": 8e3, "flops": 1e9, "server": 1e9},
}


@pytest.mark.parametrize("slowest", SLOWEST)
@pytest.mark.parametrize("batches", [1, 2, 4, 9])
@pytest.mark.parametrize("devices", [["a"], ["a", "b", "c"]])
def test_a_step_takes_its_longest_stage_and_a_share_of_the_others(slowest, batches, devices):
    facts = SLOWEST[slowest]
    boards = [board(name, down=facts["down"], up=facts["up"], latency=0.002) for name in devices]
    on = fleet(boards)
    answered = drive(step(devices, batches, facts["flops"], facts["server"]), on)
    each = ask(devices[0], flops=facts["flops"] / batches, name=f"0:{devices[0]}")
    totals = [batches * one for one in (*seconds(each, boards[0]), facts["server"] / 1e9 / batches)]
    longest = max(totals)
    assert answered == batches * len(devices)
    assert on.tally().elapsed_s == pytest.approx(
        longest + (sum(totals) - longest) / batches, rel=1e-9
    )


def test_the_server_works_while_devices_do():
    on = fleet([board("a")])
    ticket = on.start(Wave(jobs=[ask("a", flops=2e9)]))
    on.work(Load(flops=1.5e9))
    on.collect(ticket)
    assert on.tally().elapsed_s == pytest.approx(
        sum(seconds(ask("a", flops=2e9), board("a"))), rel=1e-12
    )


def test_work_begun_ahead_is_there_when_asked_for():
    on = fleet([board("a")])
    ticket = on.start(Wave(jobs=[ask("a", flops=1e9)]))
    on.work(Load(flops=5e9))
    on.collect(ticket)
    assert on.tally().elapsed_s == 5.0


def test_a_device_finishes_one_wave_before_it_begins_the_next():
    on = fleet([board("a")])
    first, second = (on.start(Wave(jobs=[ask("a", flops=1e9, name=name)])) for name in ("1", "2"))
    on.collect(second)
    both_s = on.tally().elapsed_s
    on.collect(first)
    down_s, compute_s, up_s = seconds(ask("a", name="1"), board("a"))
    assert both_s == pytest.approx(down_s + 2 * compute_s + up_s, rel=1e-12)
    assert on.tally().elapsed_s == both_s
