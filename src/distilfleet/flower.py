"""Methods of distilfleet on a federation that runs Flower already.

    # my_app.py, whose two names the app's pyproject.toml has as serverapp and clientapp
    from distilfleet.flower import client_app, server_app

    server = server_app("koala", devices={"hall": "rpi-4b", "shed": "rpi-5"}, data="server.npz")
    client = client_app()

Each SuperNode says who it is and where its data lie: --node-config 'device="hall" data="hall.npz"'.
Jobs and replies travel as our own frames inside Flower's messages and are checked as on a fleet of
ours, so that a run gives the weights of a simulation with `--cohorts off`, where versions and
processors are alike. Flower 1.42 polls for messages: a round takes ten seconds at least, and split
KD, which needs a message for each step, is refused.

Tried with flwr 1.42.0 (https://flower.ai), which is installed apart: its pins clash with those that
distilfleet is tested with.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from .core import wire
from .core.errors import ConfigError, WireError
from .core.prefix import prefixed, under
from .core.tally import Tally
from .core.types import (
    Arrays,
    Conditions,
    Device,
    DeviceId,
    Expected,
    Job,
    Load,
    Missed,
    Plan,
    Reply,
    Result,
    RunSpec,
    Usage,
    Wave,
)
from .cost import catalogue
from .cost.energy import energy_j
from .data import own, spec
from .data.naming import Naming
from .recipes.find import recipe as found_recipe
from .recipes.flags import flatten, unflatten
from .record.history import read
from .record.run import check_free, create
from .report.page import write_page
from .service.agent_flags import Consent
from .service.spec import build_worker, spec_of, write_spec
from .training.experiment import Experiment
from .training.facts import fleet_facts
from .training.loop import about, train

OURS = "distilfleet"
"""The name of the record that holds what is ours, in Flower's messages and in its states."""
HELLO = "query.hello"
WORK = "train.work"
CONNECT_S = 300.0
"""How long the server waits for all devices to be connected."""
PATIENCE_S = 600.0
"""How long a wave without a deadline waits for its devices."""
HELLO_S = 60.0
"""How long a node may take to say who it is: it loads what it trains with first."""
LOOK_S = 3.0
"""Seconds between looks at who is connected."""
TOO_CHATTY = (
    "split KD sends a message for each step, and Flower delivers one in seconds: run it on a fleet "
    "of distilfleet's own, with `distilfleet serve`"
)
log = logging.getLogger(__name__)


# --- the server -----------------------------------------------------------------------------------


def server_app(
    recipe: str, *, devices: Mapping[DeviceId, str], out: str | None = None, **flags: Any
) -> ServerApp:
    """A Flower server app that carries out a recipe on the federation and records the run.

    Args:
        recipe: a shipped one, such as `koala`, or `path/to/file.py:function`.
        devices: who may take part, and each one's row of the catalogue, in the order of the fleet.
        out: the directory of the record. Default: runs/RECIPE-TIME.
        flags: those of the recipe, with `_` for `-`; `data` is the server's own part.

    Raises ConfigError when the app runs, for flags, data or methods that cannot be used.
    """
    app = ServerApp()
    carry_out = partial(_carry_out, recipe=recipe, devices=devices, out=out, flags=flags)

    @app.main()  # type: ignore[untyped-decorator]
    def main(grid: Grid, context: Context) -> None:
        carry_out(grid)

    return app


def _carry_out(
    grid: Grid,
    *,
    recipe: str,
    devices: Mapping[DeviceId, str],
    out: str | None,
    flags: Mapping[str, Any],
) -> None:
    started = datetime.now(UTC)
    path = Path(out) if out else Path("runs") / f"{recipe}-{started:%Y%m%d-%H%M%S}"
    check_free(path)
    experiment, settings = _built(recipe, devices, flags)
    told = write_spec(spec_of(experiment.method, experiment.seed, experiment.data_spec))
    fleet = FlowerFleet(experiment.devices, experiment.server, grid, told)
    fleet.connect(CONNECT_S)
    asked = about(experiment, recipe, settings, f"{started:%Y-%m-%dT%H:%M:%SZ}")
    record = create(path, {**asked, "engine": "Flower"}, fleet_facts(experiment))
    with closing(record):
        for line in train(experiment, fleet, record, None, time.monotonic):
            log.info("round %s of %s", line["round"], experiment.rounds)
    write_page([read(path)], path / "report.html")


def _built(
    recipe: str, devices: Mapping[DeviceId, str], flags: Mapping[str, Any]
) -> tuple[Experiment, dict[str, Any]]:
    """The experiment with these devices, and its settings. Raises ConfigError."""
    if recipe == "splitkd":
        raise ConfigError(TOO_CHATTY)
    found = found_recipe(recipe)
    kinds = tuple(devices.values())
    plain = msgspec.to_builtins(dict(flags), enc_hook=str)
    chosen = unflatten(found.flags, {**plain, "devices": len(kinds), "device_kinds": kinds})
    experiment = found.build(chosen)
    own_rows = plain.get("catalogue")
    extra = Path(own_rows) if own_rows else None
    boards = {name: catalogue.device(kind, name, extra=extra) for name, kind in devices.items()}
    return replace(experiment, devices=boards), flatten(chosen)


class FlowerFleet:
    """Implements `core.protocols.Fleet` over the nodes of a Flower federation.

    Bytes are those of our frames. Seconds are measured, joules those of the catalogue's rows at
    work. Who does not answer in time is missed; a reply that is not what was asked for is refused.
    """

    def __init__(
        self, devices: Mapping[DeviceId, Device], server: Device, grid: Grid, told: bytes
    ) -> None:
        self._devices = devices
        self._server = server
        self._grid = grid
        self._told = told
        """What all devices are told of the run."""
        self._nodes: dict[DeviceId, int] = {}
        self._waves: dict[int, Wave] = {}
        self._started = 0
        self._before_s = 0.0
        self._began_s = time.monotonic()
        self._begin_tally()

    def connect(self, longest_s: float) -> None:
        """Ask nodes who they are until all devices are there. Raises ConfigError for those that are
        away to the end."""
        until_s = time.monotonic() + longest_s
        while len(self._nodes) < len(self._devices):
            known = set(self._nodes.values())
            strangers = [node for node in self._grid.get_node_ids() if node not in known]
            for reply in self._sent({node: {} for node in strangers}, HELLO, HELLO_S):
                name = str(reply.content[OURS]["device"])
                if name in self._devices:
                    self._nodes[name] = reply.metadata.src_node_id
            if time.monotonic() > until_s:
                away = sorted(self._devices.keys() - self._nodes.keys())
                raise ConfigError(
                    f"no SuperNode says in its --node-config that it is {', '.join(away)}"
                )
            time.sleep(LOOK_S if len(self._nodes) < len(self._devices) else 0.0)

    def roster(self) -> Mapping[DeviceId, Device]:
        return self._devices

    def conditions(self, number: int) -> Conditions:
        return Conditions(round=number, devices=self._devices, ids=tuple(self._devices))

    def adopt(self, plan: Plan) -> None:
        """Shares and clocks are the machines' own."""

    def start(self, wave: Wave) -> int:
        self._started += 1
        self._waves[self._started] = wave
        return self._started

    def collect(self, ticket: int) -> list[Result]:
        wave = self._waves.pop(ticket)
        frames = {job.device: wire.encode_job(job).to_bytes() for job in wave.jobs}
        asked = {
            self._nodes[job.device]: self._message_of(job, frames[job.device]) for job in wave.jobs
        }
        self._mark_s = time.monotonic()
        waits_s = PATIENCE_S if wave.deadline_s is None else wave.deadline_s
        replies = {reply.metadata.src_node_id: reply for reply in self._sent(asked, WORK, waits_s)}
        results = [
            self._result(job, len(frames[job.device]), replies.get(self._nodes[job.device]))
            for job in wave.jobs
        ]
        self._answered += [result.device for result in results if isinstance(result, Reply)]
        self._missed += [result for result in results if isinstance(result, Missed)]
        self._mark_s = time.monotonic()
        return results

    def _message_of(self, job: Job, frame: bytes) -> dict[str, bytes | str]:
        return {
            "job": frame,
            "expected": msgspec.msgpack.encode(job.expected),
            "run": self._told,
            "kind": self._devices[job.device].kind,
        }

    def _sent(
        self, content_of: Mapping[int, Mapping[str, bytes | str]], kind: str, waits_s: float
    ) -> list[Message]:
        """The replies of nodes to messages of this kind, of those that answered without a fault."""
        messages = [
            Message(RecordDict({OURS: ConfigRecord(dict(content))}), node, kind)
            for node, content in content_of.items()
        ]
        replies = self._grid.send_and_receive(messages, timeout=waits_s) if messages else []
        return [reply for reply in replies if reply.has_content()]

    def _result(self, job: Job, down_bytes: int, reply: Message | None) -> Result:
        if reply is None:
            return Missed(job=job.id, device=job.device, reason="no answer through Flower")
        answer = reply.content[OURS]
        if "declined" in answer:
            return Missed(job=job.id, device=job.device, reason=f"declined: {answer['declined']}")
        device = self._devices[job.device]
        busy_s = float(answer["busy_s"])
        used_j = energy_j(busy_s, busy_s, 0.0, device.idle_w, device.busy_w, 0.0)
        frame = bytes(answer["reply"])
        self._used += Usage(
            busy_s=busy_s, energy_j=float(used_j), down_bytes=down_bytes, up_bytes=len(frame)
        )
        try:
            return wire.admit(wire.decode_reply(frame), job)
        except WireError as fault:
            return Missed(job=job.id, device=job.device, reason=f"rejected: {fault}")

    def work(self, load: Load) -> None:
        now_s = time.monotonic()
        self._serving_s += now_s - self._mark_s
        self._mark_s = now_s

    def tally(self) -> Tally:
        lasting_s = max(time.monotonic() - self._since_s, self._serving_s)
        server = self._server
        server_j = energy_j(lasting_s, self._serving_s, 0.0, server.idle_w, server.busy_w, 0.0)
        tally = Tally(
            devices=self._used,
            server=Usage(busy_s=self._serving_s, energy_j=float(server_j)),
            elapsed_s=self._elapsed_s(),
            answered=self._answered,
            missed=self._missed,
        )
        self._begin_tally()
        return tally

    def kept(self) -> Mapping[DeviceId, Arrays]:
        """What devices keep stays in Flower's states there."""
        return {}

    def snapshot(self) -> Arrays:
        return {"elapsed": np.array(self._elapsed_s())}

    def restore(self, kept: Arrays) -> None:
        self._before_s = float(kept["elapsed"])
        self._began_s = time.monotonic()

    def _elapsed_s(self) -> float:
        return self._before_s + time.monotonic() - self._began_s

    def _begin_tally(self) -> None:
        self._used = Usage()
        self._answered: list[DeviceId] = []
        self._missed: list[Missed] = []
        self._serving_s = 0.0
        self._since_s = self._mark_s = time.monotonic()


# --- a device -------------------------------------------------------------------------------------


def client_app(consent: Consent | None = None, naming: Naming | None = None) -> ClientApp:
    """A Flower client app that trains on the data that its node names, which stay there.

    Args:
        consent: what the data's owner agrees to; by default, that nothing but answers leaves.
        naming: what the file calls otherwise than the run does, as the flags of an agent say it.
    """
    app = ClientApp()
    agrees = consent or Consent()
    names = naming or Naming()

    @app.query("hello")  # type: ignore[untyped-decorator]
    def hello(message: Message, context: Context) -> Message:
        return _answer(message, device=_setting(context, "device"))

    @app.train("work")  # type: ignore[untyped-decorator]
    def work(message: Message, context: Context) -> Message:
        try:
            return _answer(message, **_worked(message.content[OURS], context, agrees, names))
        except (ConfigError, WireError, msgspec.DecodeError) as fault:
            log.warning("declined: %s", fault)
            return _answer(message, declined=str(fault))

    return app


def _worked(
    asked: Mapping[str, Any], context: Context, consent: Consent, naming: Naming
) -> dict[str, Any]:
    """The reply's frame, and the seconds that the work took. Raises ConfigError or WireError."""
    expected = msgspec.msgpack.decode(bytes(asked["expected"]), type=Expected)
    job = wire.decode_job(bytes(asked["job"]), expected)
    run = msgspec.msgpack.decode(bytes(asked["run"]), type=RunSpec)
    name = _setting(context, "device")
    if job.device != name:
        raise WireError(f"a job for {job.device} came to {name}")
    data = own.read(_setting(context, "data"), naming).mapped(spec.read(run.data)).data
    device = catalogue.device(str(asked["kind"]), name)
    board = replace(device, shares_label_counts=consent.label_counts)
    worker = build_worker(run, board, data, consent)
    kept = context.state.get(OURS)
    if kept is not None:
        worker.restore(under("kept", _arrays_of(kept)))
    began_s = time.monotonic()
    arrays = worker.handle(job)
    busy_s = time.monotonic() - began_s
    body = wire.encode_body(prefixed("kept", worker.snapshot()))
    context.state[OURS] = ConfigRecord({"manifest": body.manifest, "data": body.data})
    return {"reply": wire.encode_reply(job.id, job.device, arrays).to_bytes(), "busy_s": busy_s}


def _arrays_of(record: Mapping[str, Any]) -> Arrays:
    body = wire.Body(bytes(record["manifest"]), bytes(record["data"]))
    return wire.decode_body(body)


def _setting(context: Context, name: str) -> str:
    """Raises ConfigError if the node does not say it."""
    found = context.node_config.get(name)
    if not isinstance(found, str):
        raise ConfigError(f"start the SuperNode with --node-config '{name}=\"...\"'")
    return found


def _answer(message: Message, **content: Any) -> Message:
    return Message(RecordDict({OURS: ConfigRecord(content)}), reply_to=message)
