"""A real fleet in this process: real TLS, real sessions, real disks; agents share the interpreter
to start at once."""

import asyncio
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from distilfleet.core.protocols import Worker
from distilfleet.core.types import Arrays, Dataset, DeviceId, Job, Load, RunSpec
from distilfleet.data.own import Ready
from distilfleet.data.spec import DataSpec
from distilfleet.net.agent import Agent
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.fleet import NetFleet
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Badge, write_private
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import listen
from distilfleet.service.agent import Consent, builder
from distilfleet.service.spec import spec_of, write_spec

ONE_AT_A_TIME = threading.Lock()
"""Workers of one process share modules; those of separate processes do not."""


class Alone:
    """A worker that has the interpreter to itself."""

    def __init__(self, inner: Worker) -> None:
        self.inner = inner

    def load(self, job: Job) -> Load:
        return self.inner.load(job)

    def handle(self, job: Job) -> Arrays:
        with ONE_AT_A_TIME:
            return {name: array.copy() for name, array in self.inner.handle(job).items()}

    def snapshot(self) -> Arrays:
        return self.inner.snapshot()

    def restore(self, kept: Arrays) -> None:
        self.inner.restore(kept)


class RealFleet(NetFleet):
    """As `SimFleet` is made, with agents that listen to it."""

    consent = Consent(label_counts=True, data=True)
    open_ones: list["RealFleet"] = []  # noqa: RUF012 (closed after each test)

    def __init__(
        self,
        devices: Mapping[DeviceId, Any],
        data: Any,
        method: Any,
        world: Any,
        data_spec: DataSpec | None = None,
    ) -> None:
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.spec = spec_of(method, world.seed, data_spec)
        session_server = self.run(self._serve(devices))
        super().__init__(devices, world.server, session_server, self.loop)
        self.open("run", write_spec(self.spec))
        self.run(self._join(devices, data))
        RealFleet.open_ones.append(self)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _serve(self, devices: Mapping[DeviceId, Any]) -> SessionServer:
        path = Path(self.folder.name)
        self.authority, self.journal = (
            Authority(path / "authority"),
            SqliteJournal(path / "journal.sqlite"),
        )
        coordinator = Coordinator(
            server=ServerSide(uploads=FlowControl(1 << 20), now_s=time.monotonic()),
            journal=self.journal,
        )
        session_server = SessionServer(
            coordinator=coordinator, enrolled=devices, denied=self.authority.denied
        )
        self.listening = await listen(
            "localhost:0",
            self.authority.server_keys(["localhost"], time.time()),
            {},
            session_server.stream,
        )
        self.tasks = [asyncio.create_task(session_server.tick())]
        return session_server

    async def _join(self, devices: Mapping[DeviceId, Any], data: Any) -> None:
        self.agents = [self._agent(device, data(device.id)) for device in devices.values()]
        self.tasks += [asyncio.create_task(agent.serve()) for agent in self.agents]

    def _agent(self, device: Any, owned: Any) -> Agent:
        folder = Path(self.folder.name) / device.id
        folder.mkdir()
        key, request = new_request(device.id)
        certificate = self.authority.sign(device.id, request, time.time())
        for name, pem in (
            ("key", key),
            ("certificate", certificate),
            ("authority", self.authority.pem),
        ):
            write_private(folder / f"{name}.pem", pem)
        address = f"localhost:{self.listening.port}"
        badge = Badge(address=address, enrol_address=address, device=device.id, kind=device.kind)
        own = builder(
            device, Ready(data=owned) if isinstance(owned, Dataset) else owned, self.consent
        )

        def build(spec: RunSpec) -> Worker:
            with ONE_AT_A_TIME:
                return Alone(own(spec))

        return Agent(badge=badge, folder=folder, device=device, build=build, rng=Random(device.id))

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """What the server cannot see, and a test can."""
        snapshots = {
            a.badge.device: a.runner.worker.snapshot() for a in self.agents if a.runner is not None
        }
        return {device: kept for device, kept in snapshots.items() if kept}

    def close(self) -> None:
        self.run(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.folder.cleanup()

    async def _stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.listening.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for agent in self.agents:
            agent.store.close()
        self.journal.close()
        self.authority.close()
