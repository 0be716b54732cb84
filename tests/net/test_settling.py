"""A device that hears of many answers at once: one write for those that counted, in order with the
rest."""

import asyncio
from contextlib import closing

import numpy as np

from distilfleet.cost import catalogue
from distilfleet.net.agent import Agent
from distilfleet.net.device_side import Held, Settle
from distilfleet.net.job_runner import JobRunner
from distilfleet.net.keys import Badge


class Keeper:
    """A worker with a state."""

    def __init__(self) -> None:
        self.state = 9

    def snapshot(self):
        return {"x": np.array(self.state)}

    def restore(self, kept):
        self.state = int(kept["x"])


def test_answers_that_counted_are_forgotten_in_one_write(tmp_path):
    badge = Badge(address="localhost:1", enrol_address="localhost:2", device="pi", kind="rpi-4b")
    agent = Agent(badge, tmp_path, catalogue.device("rpi-4b", "pi"), build=None)
    with closing(agent.store):
        agent.store.open_run("run")
        agent.run, agent.runner = "run", JobRunner(Keeper(), agent.store, None)
        for number in range(8):
            held = Held(job_digest=b"", data=b"answer")
            agent.store.finish(f"run/{number}", held, b"job", {"x": np.array(number + 1)})
        writes: list[str] = []
        agent.store._base.set_trace_callback(
            lambda text: writes.append(text) if text == "COMMIT" else None
        )
        for number in (0, 1, 2, 7, 3, 4):
            agent.todo.put_nowait(Settle(f"run/{number}", counted=number != 7))
        asyncio.run(until_done(agent))
        agent.store._base.set_trace_callback(None)
        assert len(writes) == 3
        assert list(agent.store.held()) == ["run/5", "run/6"]
        agent.runner.refresh()
        assert agent.runner.worker.state == 7


async def until_done(agent: Agent) -> None:
    working = asyncio.create_task(agent._work())
    while not agent.todo.empty():
        await asyncio.sleep(0)
    working.cancel()
