"""Devices with files of their own train together as one simulation on the same samples; what
differs is declined."""

import numpy as np
import pytest
import torch
from in_process import RealFleet

import contract
from distilfleet.core.engine import rounds
from distilfleet.core.types import Dataset
from distilfleet.recipes.find import recipe
from distilfleet.recipes.flags import unflatten
from distilfleet.service.agent import own_data
from distilfleet.service.ask import experiment_of
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.sim.fleet import SimFleet, World

MEANS = {"run": (0, 3), "sit": (3, -2), "walk": (-3, 0)}
OWNED = {
    "device-0": (("run", "sit", "walk"), "x,y,label"),
    "device-1": (("sit", "walk"), "label,y,x"),
    "device-2": (("run", "walk"), "y,label,x"),
}


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def written(path, classes, header, count, seed):
    rng, lines = np.random.default_rng(seed), [header]
    for i in range(count):
        kind = classes[i % len(classes)]
        x, y = rng.normal(MEANS[kind])
        cells = {"x": f"{x:.4f}", "y": f"{y:.4f}", "label": kind}
        lines.append(",".join(cells[name] for name in header.split(",")))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def run(tmp_path):
    found = recipe("fedavg")
    server = written(tmp_path / "server.csv", tuple(MEANS), "x,y,label", 300, 9)
    settings = {"data": server, "devices": 3, "cohorts": "off", "who": "small", "rounds": 6}
    return found.build(unflatten(found.flags, settings))


def trained(run, fleet):
    state = run.method.init(run.seed)
    for done in rounds(run.method, run.planner, fleet, state, range(1, run.rounds + 1)):
        state = done.state
    return state


@pytest.mark.net
def test_devices_with_other_classes_and_orders_of_columns_train_as_one_simulation(run, tmp_path):
    owned = {
        device: own_data(written(tmp_path / f"{device}.csv", classes, header, 60, seed))
        for seed, (device, (classes, header)) in enumerate(OWNED.items())
    }
    world, roster = World(server=contract.SERVER, cohorts=False), run.devices
    real = RealFleet(roster, owned.__getitem__, run.method, world, run.data_spec)
    means = {device: owned[device].mapped(run.data_spec).data for device in roster}
    state = trained(run, real)
    assert contract.state_bits(state) == contract.state_bits(
        trained(run, SimFleet(roster, means.__getitem__, run.method, world))
    )
    assert not real.tally().missed
    assert run.method.evaluate(state, {}, run.test)["small_accuracy"] > 0.9


SAID = {"on": ("light on", "lamp on"), "off": ("light off", "lamp off"), "song": ("play it",)}


def sentences(path, classes, header, count):
    lines = [header]
    for i in range(count):
        kind = classes[i % len(classes)]
        cells = {"said": f"{SAID[kind][i % len(SAID[kind])]} please {i}", "label": kind}
        lines.append(",".join(cells.get(name, str(i)) for name in header.split(",")))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.net
def test_devices_with_sentences_of_their_own_train_as_one_simulation(tmp_path):
    server = sentences(tmp_path / "server.csv", tuple(SAID), "said,label", 90)
    settings = {"data": server, "devices": 3, "cohorts": "off", "small": "words-s", "rounds": 4}
    found = recipe("fedavg")
    run = found.build(unflatten(found.flags, settings))
    owned = {
        "device-0": sentences(tmp_path / "0.csv", ("on", "off"), "label,said", 30),
        "device-1": sentences(tmp_path / "1.csv", ("song", "on"), "number,said,label", 40),
        "device-2": sentences(tmp_path / "2.csv", ("off", "song"), "said,label", 50),
    }
    files = {device: own_data(path) for device, path in owned.items()}
    world, roster = World(server=contract.SERVER, cohorts=False), run.devices
    real = RealFleet(roster, files.__getitem__, run.method, world, run.data_spec)
    mapped = {device: files[device].mapped(run.data_spec).data for device in roster}
    state = trained(run, real)
    assert contract.state_bits(state) == contract.state_bits(
        trained(run, SimFleet(roster, mapped.__getitem__, run.method, world))
    )
    assert not real.tally().missed
    assert run.method.evaluate(state, {}, run.test)["small_accuracy"] > 0.9


@pytest.mark.net
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,y,label\n1,2,walk\n1.5,2,sit\n", "missing column 'x' of the run"),
        (
            "x,y,label\n1,2,jog\n1.5,2,sit\n",
            "labels have a class that is unknown to the run, which the device's",
        ),
        (
            "x,y,label\nwarm,2,walk\ncold,2,sit\n",
            "column 'x' cannot be read as the numbers that the run means",
        ),
        ("x,y\n1,2\n1.5,2\n", "have no labels"),
        ("x,y,label\n1,2000,walk\n1.5,2100,sit\n", "y seems to be in another unit than the run's"),
    ],
)
def test_a_device_whose_file_is_another_thing_declines_and_says_what(text, why, run, tmp_path):
    (tmp_path / "own.csv").write_text(text)
    other = own_data(str(tmp_path / "own.csv"))
    fine = own_data(written(tmp_path / "fine.csv", tuple(MEANS), "x,y,label", 30, 1))
    world, roster = World(server=contract.SERVER, cohorts=False), run.devices
    real = RealFleet(
        roster,
        lambda device: other if device == "device-1" else fine,
        run.method,
        world,
        run.data_spec,
    )
    (outcome,) = rounds(run.method, run.planner, real, run.method.init(0), range(1, 2))
    (missed,) = real.tally().missed
    assert missed.device == "device-1"
    assert missed.reason.startswith("declined: ")
    assert why in missed.reason
    assert str(tmp_path) not in missed.reason
    assert "2100" not in missed.reason, "values stay on the device"
    assert "jog" not in missed.reason, "so do names that the run cannot use"
    assert outcome.round == 1


@pytest.mark.net
@pytest.mark.parametrize(
    "name", ["koala", "fedavg", "fedprox", "scaffold", "feddf", "fedmd", "local"]
)
def test_a_device_with_one_sample_takes_part(name, run, tmp_path):
    found = recipe(name)
    settings = {"data": str(tmp_path / "server.csv"), "devices": 3, "cohorts": "off"}
    run = found.build(unflatten(found.flags, settings))
    spec = run.data_spec
    one = own_data(written(tmp_path / "one.csv", ("walk",), "label,x,y", 1, 3)).mapped(spec).data
    fine = (
        own_data(written(tmp_path / "fine.csv", tuple(MEANS), "x,y,label", 30, 1)).mapped(spec).data
    )
    assert len(one) == 1

    def data(device: str) -> Dataset:
        return one if device == "device-1" else fine

    world = World(server=contract.SERVER, cohorts=False)
    real = RealFleet(run.devices, data, run.method, world)
    (outcome,) = rounds(run.method, run.planner, real, run.method.init(0), range(1, 2))
    assert sorted(real.tally().answered)[:3] == ["device-0", "device-1", "device-2"]
    assert outcome.round == 1


@pytest.mark.parametrize("name", ["fedavg", "koala", "fedmd"])
def test_the_servers_data_need_not_suffice_for_all_devices(name, tmp_path):
    """Of which a real fleet gets none; a simulated one is told that it is too large."""
    server = written(tmp_path / "server.csv", tuple(MEANS), "x,y,label", 30, 9)
    devices = "\n".join(f'pi-{i} = "rpi-4b"' for i in range(40))
    file = tmp_path / "fleet.toml"
    file.write_text(
        f'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\n{devices}\n'
    )
    built = experiment_of(fleet_folder(file), {"recipe": name, "settings": {"data": server}})
    assert list(built.devices) == [f"pi-{i}" for i in range(40)]
    assert built.data_spec.classes == ("run", "sit", "walk")
