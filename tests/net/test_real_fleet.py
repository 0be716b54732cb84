"""The same recipe in simulation and on separate processes over TLS: the same weights, to the bit,
kills included."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fleets import KINDS, Processes, kill
from patience import HANGS_S

from distilfleet.cli.main import main
from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset, RunSpec
from distilfleet.cost import catalogue
from distilfleet.data.own import Ready
from distilfleet.methods import fedavg, feddf, fedmd, fedprox, koala, local, scaffold
from distilfleet.recipes.classifiers import classifier_setup
from distilfleet.recipes.flags import Common, ProxyData
from distilfleet.recipes.koala import Flags
from distilfleet.recipes.simulate import simulate
from distilfleet.record.history import read_times
from distilfleet.service import client
from distilfleet.service.agent import Consent, builder, own_data
from distilfleet.service.partition import SplitFlags, split
from distilfleet.service.spec import method_of, spec_of, write_spec

ROUNDS = 3


def flags() -> Flags:
    return Flags(
        common=Common(rounds=ROUNDS, devices=len(KINDS), device_kinds=KINDS, cohorts="off"),
        mixtures=64,
    )


def weights(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in (folder / "models").rglob("*.safetensors")
    }


def until(ready: Callable[[], bool]) -> None:
    """Other processes are waited for."""
    end_s = time.monotonic() + HANGS_S
    while not ready():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "run"
    simulate("koala", flags(), path)
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("fleet"), forked=True)
    processes.start_server()
    until((processes.folder / "fleet-state" / "authority" / "identity.sqlite").exists)
    for number in range(len(KINDS)):
        processes.start_agent(number, new=True)
    yield processes
    processes.stop()


@pytest.mark.net
@pytest.mark.slow
def test_simulation_equals_deployment(fleet, simulated):
    run = client.submit(fleet.here, "koala", flags())
    lines = list(client.follow(fleet.here, run))
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert all(line["devices"] == len(KINDS) and line["missed"] == 0 for line in lines)
    assert all(line["device_energy_j"] > 0 and line["up_bytes"] > 80_000 for line in lines)
    folder = client.page_of(fleet.here, run).parent
    assert weights(folder) == weights(simulated)
    check_times(list(read_times(folder)))
    recorded = json.loads((folder / "fleet.json").read_text())
    assert recorded["server"] == ""
    assert "does not name the server" in (folder / "report.html").read_text()
    told = recorded["shown"]
    assert [one["id"] for one in told] == ["device-0", "device-1"]
    assert not [one for one in told if "labels" in one or "samples" in one]


def check_times(rounds: list) -> None:
    """Each job went its way in order, and the server worked after the answers had come."""
    order = ("sent_s", "received_s", "begun_s", "done_s", "offered_s", "uploaded_s")
    assert [one["round"] for one in rounds] == [1, 2, 3]
    for one in rounds:
        assert {job["device"] for job in one["jobs"]} == {"device-0", "device-1"}
        for job in one["jobs"]:
            moments = [job[name] for name in order]
            assert moments == sorted(moments)
            assert moments[0] >= 0
            assert job["up_bytes"] > 40_000
        ((begin_s, _), *_) = one["server_s"]
        assert begin_s >= max(job["uploaded_s"] for job in one["jobs"])


@pytest.mark.net
@pytest.mark.slow
def test_a_run_is_handed_over_and_followed_from_the_command_line(fleet, capsys):
    with pytest.raises(SystemExit) as done:
        main(["run", "fedavg", "--fleet", str(fleet.file), "--rounds", "1"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert "round 1/1" in said
    assert Path(said.rpartition("Page: ")[2].strip()).is_file()


@pytest.mark.net
@pytest.mark.slow
def test_kills_of_server_and_agent_change_no_bit(fleet, simulated):
    run = client.submit(fleet.here, "koala", flags())
    metrics = fleet.folder / "fleet-state" / "runs" / run / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 1)
    kill(fleet.server)
    kill(fleet.agents["device-1"])
    fleet.start_server()
    fleet.start_agent(1)
    assert [line["round"] for line in client.follow(fleet.here, run)][-1] == ROUNDS
    assert weights(metrics.parent) == weights(simulated)


@pytest.mark.net
@pytest.mark.slow
def test_who_is_denied_is_cut_off_and_the_round_goes_on(fleet):
    with pytest.raises(SystemExit):
        main(["enrol", "deny", "--device", "device-1", "--fleet", str(fleet.file)])
    run = client.submit(
        fleet.here,
        "koala",
        replace(flags(), common=replace(flags().common, rounds=1, deadline_s=8.0)),
    )
    (line,) = client.follow(fleet.here, run)
    assert line["missed_jobs"] == [["device-1", "deadline"]]


# --- without processes ----------------------------------------------------------------------------


@pytest.mark.parametrize("module", [koala, fedavg, fedprox, scaffold, feddf, fedmd, local])
def test_a_method_comes_back_from_its_spec(module):
    method = module.tiny()
    spec = spec_of(method, 7)
    again = method_of(spec)
    assert type(again) is type(method)
    assert spec_of(again, 7) == spec
    assert len(write_spec(spec)) < 10_000
    if hasattr(method, "proxy"):
        assert len(again.proxy) == 0


def test_agents_build_nothing_that_is_not_installed():
    spec = spec_of(koala.tiny(), 0)
    device = catalogue.device("rpi-4b", "pi")
    inputs = koala.tiny().proxy.inputs
    build = builder(device, Ready(data=Dataset(inputs, np.zeros(len(inputs), np.int64))), Consent())
    with pytest.raises(ConfigError, match="no method 'os'"):
        build(replace(spec, method="os"))
    with pytest.raises(ConfigError, match="do not fit"):
        build(replace(spec, settings={"large": 1}))
    with pytest.raises(ConfigError, match="the server has numpy 0"):
        build(replace(spec, versions={**spec.versions, "numpy": "0"}))
    with pytest.raises(ConfigError, match="os:system is not of the zoo"):
        build(foreign(spec))


def foreign(spec: RunSpec) -> RunSpec:
    small = {"name": "os:system", "shape": [8], "classes": 3}
    return replace(spec, settings={**spec.settings, "smalls": {"rpi-4b": small}})


def test_split_writes_what_a_simulation_uses(tmp_path):
    out = tmp_path / "parts"
    split(SplitFlags(data="digits", devices=4, alpha=0.3, seed=2, out=out))
    setup = classifier_setup(Common(devices=4, alpha=0.3, seed=2), ProxyData())
    simulation = setup.simulation()
    for device in setup.devices:
        mine = own_data(str(out / f"{device}.npz")).mapped(setup.source.spec(None)).data
        theirs = simulation.data(device)
        np.testing.assert_array_equal(mine.inputs, theirs.inputs)
        np.testing.assert_array_equal(mine.labels, theirs.labels)
    server = classifier_setup(
        Common(data=str(out / "server.npz"), devices=4, seed=2),
        ProxyData(proxy=str(out / "proxy.npz")),
    )
    np.testing.assert_array_equal(server.source.test.inputs, setup.source.test.inputs)
    np.testing.assert_array_equal(server.proxy.inputs, setup.proxy.inputs)
    assert server.classes == setup.classes
    with pytest.raises(ConfigError, match="is not empty"):
        split(SplitFlags(data="digits", out=out))


BARE = """
import sys
from distilfleet.service.agent import builder
import distilfleet.net.agent
late = ("torch", "transformers", "sklearn", "cryptography", "tyro", "rich")
print(*(name for name in late if name in sys.modules))
"""


def test_an_idle_agent_loads_neither_torch_nor_what_enrolment_takes():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
