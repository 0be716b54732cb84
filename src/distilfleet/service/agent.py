"""A device of a real fleet: what it trains on, what its owner allows, and the worker that a
`RunSpec` names.

Nothing here needs torch until a run asks for training: a device that runs embedding modules alone
installs without it.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import IO, NoReturn

import msgspec

from ..core.disk import lock
from ..core.errors import ConfigError, UnmatchedError, WireError
from ..core.protocols import Worker
from ..core.types import Dataset, Device, RunSpec
from ..cost import catalogue, meters
from ..data import own, spec
from ..data.digest import of_arrays
from ..data.own import Own
from ..data.spec import Mapped
from ..methods.splitkd.device import FrontLayers, SplitWorker
from ..methods.splitkd.settings import SplitSettings
from ..net.agent import Agent
from ..net.heap import AGENT_ARENAS, settle_heap
from ..net.job_runner import DeclinedError
from ..net.keys import Badge, Token, badge_of
from ..net.renewal import renewal_due
from ..recipes.join import own_data
from .agent_flags import AgentFlags, Consent
from .checks import SPLITKD, Half, check_version, check_windows
from .kept_model import keeping
from .naming_flags import naming_of

log = logging.getLogger(__name__)
FIRST_AGAIN_S = 0.1
MOST_AGAIN_S = 2.0
GROWTH = 1.5
"""Between tries to enrol: a device that starts with its server is soon in."""
LEAVE_S = 1.0
USED_TOKEN = "used-token"  # noqa: S105 (a name of a file)
"""To say that it stops, an agent has so long."""


def join(asked: AgentFlags) -> str:
    """Enrol if there is a token. What to hand to `attend`, in a process that has not loaded what
    enrolment takes.

    Raises ConfigError.
    """
    if not asked.data:
        raise ConfigError("say with --data what this device trains on; it stays here")
    naming_of(asked)
    text = asked.token_text or ""
    token = Token.read(text) if text else None
    with _alone(asked.state):
        if token is not None and not _was_used(text, asked.state):
            asyncio.run(_enrolled(token, asked.state))
            (asked.state / USED_TOKEN).write_text(_digest(text), encoding="ascii")
        badge_of(asked.state)
        renewal_due(asked.state, time.time())  # worked out here, so that `attend` need not
    return msgspec.json.encode(replace(asked, token=None, token_file=None), enc_hook=str).decode()


def attend(said: str, end: Callable[[], NoReturn]) -> None:
    """Serve until stopped, which `end` does at once, in whatever state all is. Raises
    ConfigError."""
    settle_heap(AGENT_ARENAS)
    asked = msgspec.json.decode(said, type=AgentFlags, dec_hook=lambda kind, value: kind(value))
    with _alone(asked.state):
        badge = badge_of(asked.state)
        device = owned(_board(badge, asked.catalogue), asked.consent)
        data = own.Cached(own=own_data(asked.data, naming_of(asked)))
        log.info(
            "%s: a %s with %d samples, of the server at %s",
            device.id,
            badge.kind,
            len(data),
            badge.address,
        )
        build = builder(device, data, asked.consent, asked.state)
        meter = meters.find(Path("/sys"))
        caps = asked.caps
        folder = asked.state
        battery = partial(meters.battery_share, Path("/sys"))
        agent = Agent(
            badge=badge,
            folder=folder,
            device=device,
            build=build,
            data_digest=partial(digest_of, data),
            caps=caps,
            meter=meter,
            battery_share=battery,
        )
        asyncio.run(_until_stopped(agent, end))


def _board(badge: Badge, own: Path | None) -> Device:
    """This device, by its row. Raises ConfigError."""
    try:
        return catalogue.device(badge.kind, badge.device, extra=own)
    except ConfigError as fault:
        raise ConfigError(f"{fault}. Give the file that has it with --catalogue") from None


async def _until_stopped(agent: Agent, end: Callable[[], NoReturn]) -> None:
    """There is a moment to tell the server of it, unless this loop is busy with something else."""
    loop = asyncio.get_running_loop()
    leaving = set[asyncio.Task[None]]()

    async def leave() -> None:
        await agent.leave()
        end()

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, lambda *_: end())
        signal.setitimer(signal.ITIMER_REAL, LEAVE_S)
        loop.call_soon_threadsafe(lambda: leaving.add(asyncio.create_task(leave())))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    await agent.serve()
    await asyncio.gather(*leaving)


def _alone(folder: Path) -> closing[IO[bytes]]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return closing(
        lock(folder, "is in use by another agent. Stop that one, or name another --state.")
    )


def _was_used(token: str, folder: Path) -> bool:
    """Whether this device enrolled with this very token: who starts it again, after a reboot for
    example, may still have the token among its settings."""
    with suppress(FileNotFoundError):
        return (folder / USED_TOKEN).read_text(encoding="ascii") == _digest(token)
    return False


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


async def _enrolled(token: Token, folder: Path) -> None:
    """Waits for a server that is not there yet. Raises ConfigError if it is there and says no."""
    from ..net.enrolment import enrol

    again_s = FIRST_AGAIN_S
    while True:
        try:
            await enrol(token, folder)
            return
        except ConnectionError as fault:
            log.warning("not enrolled yet: %s", fault)
            await asyncio.sleep(again_s)
            again_s = min(MOST_AGAIN_S, again_s * GROWTH)
        except WireError as fault:
            again = (
                "Only the newest of a device is good: `distilfleet enrol create --device "
                f"{token.device}` prints one"
            )
            raise ConfigError(
                f"{token.address} does not take this token: {fault}. {again}"
            ) from None


def digest_of(data: Own, said: RunSpec) -> str:
    """Of what a device trains on in this run. Raises ConfigError."""
    mapped = data.mapped(spec.read(said.data)).data
    return of_arrays([mapped.inputs, mapped.labels])


def owned(device: Device, consent: Consent) -> Device:
    """The device with what its owner agrees to."""
    return replace(device, shares_label_counts=consent.label_counts)


def builder(
    device: Device, data: Own, consent: Consent, state: Path | None = None
) -> Callable[[RunSpec], Worker]:
    """What an agent hands to its loop.

    Args:
        state: the folder in which the device keeps its model; None: it keeps none.
    """

    def build(said: RunSpec) -> Worker:
        log.info("%s: a run begins, or goes on", said.method)
        mapped = _mapped(data, said)
        if said.method == SPLITKD:
            return _split_worker(said, device, mapped.data, consent)
        trainer = _trainer()
        worker: Worker = trainer.build_worker(said, device, mapped.data, consent)
        if state is None:
            return worker
        return keeping(worker, said, state, trainer.method_of(said).facts)

    return build


def _mapped(data: Own, said: RunSpec) -> Mapped:
    """Raises ConfigError with what the server may hear; the device's log has all of it."""
    try:
        mapped = data.mapped(spec.read(said.data))
    except UnmatchedError as fault:
        log.warning("this run is declined: %s", fault)
        raise ConfigError(f"this device's data do not fit the run: {fault.mismatch}") from None
    except ConfigError as fault:
        log.warning("this run is declined: %s", fault)
        raise ConfigError(
            "this device's data cannot be read for this run; its own log says why"
        ) from None
    for note in mapped.notes:
        log.warning("%s: %s", data.where, note)
    return mapped


def _split_worker(spec: RunSpec, device: Device, data: Dataset, consent: Consent) -> Worker:
    from importlib.metadata import version

    check_version(spec, "distilfleet", version("distilfleet"))
    try:
        half = msgspec.convert(spec.settings, Half)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise ConfigError(
            f"the settings of {spec.method} do not fit the version here: {fault}"
        ) from None
    _check_split(half.split, data, device)

    def front_of(whose: str, layers: int) -> FrontLayers:
        if whose != "student":
            raise DeclinedError("declined: layers of a teacher do not travel")
        try:
            made: FrontLayers = _trainer().front(spec, half, device, layers, consent.own_models)
        except ConfigError as fault:
            raise DeclinedError(f"declined: {fault}") from None
        return made

    return SplitWorker(
        device=device, data=data, split=half.split, seed=spec.seed, front_of=front_of
    )


def _check_split(split: SplitSettings, data: Dataset, device: Device) -> None:
    check_windows(data, split.context, split.student.vocabulary, split.classes)
    if split.tables != "rows":
        raise ConfigError("the run wants a table of the teacher on this device, which has none")
    if split.classes is not None and split.labels == "shared" and not device.shares_label_counts:
        raise ConfigError(
            "labels go to the server in this run, and this device's owner has not agreed: --labels "
            "kept"
        )


def _trainer() -> ModuleType:
    """What needs torch. Raises ConfigError where there is none."""
    try:
        from . import spec as deploy
    except ModuleNotFoundError as fault:
        raise ConfigError(
            f"this run trains layers on devices and needs {fault.name}; this device has none"
        ) from None
    return deploy
