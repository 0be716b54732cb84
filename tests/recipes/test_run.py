"""What a round's record says of devices and jobs, and what a run leaves behind in its process."""

import gc

from distilfleet.core.types import Missed, Tally, Usage
from distilfleet.recipes.fedavg import Flags, fedavg
from distilfleet.recipes.flags import Common
from distilfleet.recipes.run import _spent, about, train
from distilfleet.record.run import create


def test_devices_are_counted_once_and_missed_jobs_as_jobs():
    lost = [Missed(job=f"1.{n}", device=device, reason="offline") for n, device in enumerate(("b", "c", "c"))]
    tally = Tally(devices=Usage(), server=Usage(), elapsed_s=1.0, answered=["a", "b", "a", "b", "a"], missed=lost)
    told = _spent(tally)
    assert (told["devices"], told["asked"], told["jobs"], told["missed"]) == (2, 3, 8, 3)
    assert told["missed_jobs"] == [["b", "offline"], ["c", "offline"], ["c", "offline"]]


def test_the_collector_leaves_a_fleet_alone_for_as_long_as_it_trains(tmp_path):
    run = fedavg(Flags(common=Common(devices=3, rounds=2), small="perceptron"))
    record = create(tmp_path / "run", about(run, "fedavg", {}, ""), run.facts)
    steps = train(run, record, None, lambda: 0.0)
    assert gc.get_freeze_count() == 0
    next(steps)
    assert gc.get_freeze_count() > 0
    steps.close()
    assert gc.get_freeze_count() == 0
    record.close()
