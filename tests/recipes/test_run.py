"""What a round's record says of devices and jobs, and what a run leaves behind in its process."""

import gc
from math import isnan, nan

from distilfleet.core.tally import Tally
from distilfleet.core.types import Missed, Usage
from distilfleet.recipes.fedavg import Flags, fedavg
from distilfleet.recipes.flags import Common
from distilfleet.recipes.simulated import simulated
from distilfleet.record.run import create
from distilfleet.service.ask import server_of
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.training.loop import _spent, about, train


def test_devices_are_counted_once_and_missed_jobs_as_jobs():
    lost = [
        Missed(job=f"1.{n}", device=device, reason="offline")
        for n, device in enumerate(("b", "c", "c"))
    ]
    tally = Tally(
        devices=Usage(),
        server=Usage(),
        elapsed_s=1.0,
        answered=["a", "b", "a", "b", "a"],
        missed=lost,
    )
    told = _spent(tally)
    assert (told["devices"], told["asked"], told["jobs"], told["missed"]) == (2, 3, 8, 3)
    assert told["missed_jobs"] == [["b", "offline"], ["c", "offline"], ["c", "offline"]]


def test_the_collector_leaves_a_fleet_alone_for_as_long_as_it_trains(tmp_path):
    common = Common(devices=3, rounds=2)
    run = simulated(fedavg(Flags(common=common, small="perceptron")), common)
    record = create(tmp_path / "run", about(run.experiment, "fedavg", {}, ""), run.facts)
    steps = train(run.experiment, run.fleet, record, None, lambda: 0.0)
    assert gc.get_freeze_count() == 0
    next(steps)
    assert gc.get_freeze_count() > 0
    steps.close()
    assert gc.get_freeze_count() == 0
    record.close()


def test_a_server_of_no_known_kind_has_no_joules(tmp_path):
    """A fleet file need not name one; a catalogue's card must not stand in for it."""
    file = tmp_path / "fleet.toml"
    file.write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\na = "rpi-5"\n'
    )
    server = server_of(fleet_folder(file))
    assert isnan(server.busy_w) and isnan(server.idle_w)
    tally = Tally(
        devices=Usage(), server=Usage(energy_j=nan), elapsed_s=1.0, answered=["a"], missed=[]
    )
    assert "server_energy_j" not in _spent(tally)
    file.write_text('server = "server-a100-80g"\n' + file.read_text())
    assert server_of(fleet_folder(file)).busy_w > 0
