"""A device that comes back to a run with other data declines it, since its worker came from the old
ones."""

import asyncio
from contextlib import closing

import msgspec
import numpy as np
import pytest

from distilfleet.core.types import RunSpec
from distilfleet.cost import catalogue
from distilfleet.data import spec
from distilfleet.net.agent import Agent
from distilfleet.net.device_side import Held, Prepare
from distilfleet.net.keys import Badge
from distilfleet.net.store import KEPT_RUNS
from distilfleet.service.agent import digest_of, own_data

BADGE = Badge(address="localhost:1", enrol_address="localhost:2", device="pi", kind="rpi-4b")
SAID = spec.DataSpec(
    kind="table",
    shape=(1,),
    classes=("a", "b"),
    columns=(spec.FeatureColumn(name="x"),),
    offset=(0.0,),
    factor=(1.0,),
)
RUN = RunSpec(method="echo", settings={}, models={}, versions={}, seed=0, data=spec.write(SAID))


class Keeper:
    """A worker with a state."""

    def snapshot(self):
        return {"x": np.array(9)}


def joined(folder, file, run="run", work=True) -> str:
    """An agent that starts, hears of a run, and does a job of it; why it did not, if so."""
    data = own_data(str(file))
    agent = Agent(
        BADGE,
        folder,
        catalogue.device("rpi-4b", "pi"),
        build=lambda spec: Keeper(),
        data_digest=lambda spec: digest_of(data, spec),
    )
    with closing(agent.store):
        wanted = Prepare(run, msgspec.msgpack.encode(RUN))
        agent._prepare(wanted)
        asyncio.run(agent._build(wanted))
        if agent.runner is None:
            return agent.why_not
        if work:
            number = len(list(agent.store.keys()))
            agent.store.finish(
                f"{run}/{number}", Held(job_digest=b"", data=b"a"), b"job", {"x": np.array(1)}
            )
    return ""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "own.csv").write_text("x,label\n1,a\n2,b\n")
    return tmp_path / "own.csv"


CHANGED = "x,label\n1,a\n2,b\n3,b\n"


def test_a_device_that_comes_back_with_its_data_goes_on(file, tmp_path):
    assert joined(tmp_path, file) == ""
    file.write_text("label,x,note\na,1,of no meaning\nb,2,\n")  # the same samples for this run
    assert joined(tmp_path, file) == ""


@pytest.mark.parametrize(
    "content", [CHANGED, "x,label\n1,b\n2,b\n", "x,label\n1,a\n2.5,b\n", "x\n1\n2\n"]
)
def test_a_device_that_comes_back_with_other_data_declines(content, file, tmp_path, caplog):
    assert joined(tmp_path, file) == ""
    before = file.read_text()
    file.write_text(content)
    why_not = joined(tmp_path, file)
    assert why_not.startswith("declined: this device's data have changed since it began this run")
    assert "had the digest" in caplog.text
    assert not any(word in why_not for word in caplog.text.split() if len(word) == 32), (
        "no digest leaves the device"
    )
    assert "have changed" in joined(tmp_path, file, "run~1"), "a branch of the run is that run"
    file.write_text(before)
    assert joined(tmp_path, file) == ""


def test_the_next_run_takes_the_new_data(file, tmp_path):
    assert joined(tmp_path, file) == ""
    file.write_text(CHANGED)
    assert joined(tmp_path, file, "next") == ""


def test_data_may_change_until_the_first_job_is_done(file, tmp_path):
    assert joined(tmp_path, file, work=False) == ""
    file.write_text(CHANGED)
    assert joined(tmp_path, file) == ""
    file.write_text("x,label\n1,a\n")
    assert "have changed" in joined(tmp_path, file)


def test_runs_that_are_forgotten_take_their_digests_along(file, tmp_path):
    for number in range(KEPT_RUNS + 1):
        assert joined(tmp_path, file, f"run-{number}") == ""
    file.write_text(CHANGED)
    assert joined(tmp_path, file, "run-0") == ""
    assert "have changed" in joined(tmp_path, file, f"run-{KEPT_RUNS}")
