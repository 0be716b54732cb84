"""The server's end of all sessions as a state machine: messages go in, messages and events come
out.

Neither this end nor a device's, in `device_side`, knows a socket, a clock, a thread or a disk.
Every method gets the time as an argument and returns a list of what is to be done, so that a test
can drive thousands of sessions a minute over a network that loses, repeats, reorders and cuts.

How the machines couple
-----------------------

    round thread              loop of the sessions                          the device's process
    NetFleet -- waves --> Coordinator -- jobs --> ServerSide == messages == DeviceSide --> JobRunner
             <- results -            <- events --         (SessionServer,              <--
                                                           Outbox, gRPC)

The coordinator knows waves and the journal and no messages; this machine knows messages and no
waves. It tells the coordinator three things: `Arrived`, an answer is whole; `Declined`, a device
will not do a job, or answered something else; and `AskedFor`, a device holds answers to jobs that
are not under way here. The coordinator tells it three: `assign` a job, `settle` one, and `prepare`
devices for a run. `Send` and `Drop` pass through to the connections.

One machine has the sessions of all devices, because they share the room for what is under way:
`uploads` bounds the bytes of answers that devices may be sending, `downloads` those of jobs.
Whoever finds no room waits in line.

A device
--------

    never came --hello--> live --lease over, upload stalled, Refuse, leave--> away
    away --hello--> live, fence + 1 ...

- A device has one session. Its *fence* counts them; what an older session still says, or its end,
  is ignored, since it carries an older fence. So a connection that is half open does no harm.
- A session is over if nothing was heard for `LEASE_BEATS` beats, or if an upload that has room does
  not get on for `STALL_S`. If this process itself stood still, the time before `woke_s` counts
  against nobody.
- Jobs outlive sessions. The end of a session gives back the room of its transfers, and the next
  hello has every job offered again that has no answer yet.
- Two agents may have one identity. The later one displaces the earlier; an agent that was displaced
  and comes back while the other is live is refused, with pauses that double. A device may begin
  `MOST_SESSIONS` in `SESSIONS_S`.

A job
-----

    assign --> waiting for downloads --> offered --Grant, Chunk ...--> with the device --Received-->
           --> answer offered --> waiting for uploads --> granted --Chunk ...--> whole --> Arrived
           --settle--> gone

- The job leaves memory when its answer is whole; the digest of the answer stays, so that an answer
  offered again is received again without a byte, and another answer to the same job is rejected.
- An offer that is larger than any answer to the job is declined before a byte of it travels.
- `settle` may come at any time, also while the job is on its way or never was here: the room is
  given back, and the device is told `Committed` if it is there. If it is not, its next hello lists
  the key, `AskedFor` comes out, and `settle` is called again. That is why a device keeps an answer
  until it has heard what became of it.
- A small frame comes along with its offer, and needs no grant. If there was no room it is ignored,
  and granted later.

What may come when
------------------

Before `enter` nothing of a device is listened to. Then messages may come in any order, twice, or
for jobs that are settled: whatever does not fit the state is ignored. Only a message that no device
ever says raises `WireError`, which ends the session. Gaps and repeats within a session never get
here, since `protocol.Numbering` sees to them.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from ..core.errors import WireError
from ..core.fleet_status import Doing
from ..core.tally import Timed
from ..core.types import DeviceId, Usage
from .protocol import (
    CHUNK_BYTES,
    VERSIONS,
    AnyMessage,
    Beat,
    Chunk,
    Committed,
    Decline,
    Grant,
    Hello,
    Offer,
    Pieces,
    Received,
    Refuse,
    Setup,
    Welcome,
    agree,
)
from .transfer import FlowControl, Incoming, Outgoing, eager

BEAT_S = 15.0
LEASE_BEATS = 3
"""Beats that may be missed before a session counts as over."""
SKEW_S = 0.5
"""What a device says of its work may differ by so much from what the server sees, and is still
believed."""
DOWN_BYTES = 64 << 20
"""The most bytes of jobs that are on their way at once."""
STALL_S = 30.0
"""An upload that does not get on for so long gives its room back."""
MOST_SESSIONS = 60
SESSIONS_S = 60.0
"""Sessions that one identity may begin in so long; who wants more is told when to come back."""
CLASH_S = 5.0
MOST_CLASH_S = 300.0
"""The first and the longest pause of an agent whose identity another agent uses: it doubles with
each try."""
MOST_DISPLACED = 16
"""Agents of one identity that are remembered after a newer one took their place."""
UPGRADE_S = 600.0
"""A device that speaks no version of this server's need not come back sooner."""
STOPPED = "stopped at the device"
CLASH = (
    "another agent uses this identity: stop one of the two, or enrol one anew with a token of its "
    "own"
)

# --- what comes out -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A message for a device."""

    device: DeviceId
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Arrived:
    """A device's answer, whole and with the right digest."""

    device: DeviceId
    key: str
    data: bytes
    usage: Usage
    timed: Timed
    """When the job was sent, worked on and answered, under its key and on the server's clock."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A device will not do a job, or answered what is no answer to it."""

    device: DeviceId
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A device holds answers to jobs that are not under way: say with `settle` what became of
    them."""

    device: DeviceId
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """This session is over as far as the server is concerned: close its connection."""

    device: DeviceId
    fence: int
    reason: str


Output = Send | Arrived | Declined | AskedFor | Drop


# --- the server's end -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Task:
    """A job under way."""

    out: Outgoing | None
    """The job on its way; None once its answer is here."""
    most_bytes: int
    """The largest answer that can be to this job."""
    incoming: Incoming | None = None
    moved_s: float = 0.0
    down_s: float = 0.0
    """When the job itself got on its way the last time."""
    sent_s: float | None = None
    received_s: float | None = None
    offered_s: float = 0.0
    arrived: bytes | None = None
    """The digest of the answer, once it is here."""


@dataclass(slots=True)
class _DeviceState:
    """One device."""

    fence: int = 0
    live: bool = False
    last_seen_s: float = 0.0
    battery_share: float | None = None
    tasks: dict[str, _Task] = field(default_factory=dict)
    stopped: bool = False
    """Whether its agent said that it stops, and has not come back."""
    instance: str = ""
    """The agent whose session it is."""
    displaced: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_DISPLACED))
    """Agents whose session ended because another agent began one."""
    begun_s: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_SESSIONS))
    comebacks: int = 0
    """Tries of the displaced since the session began."""


@dataclass(slots=True)
class ServerSide:
    """All sessions. Methods return what to send and what happened."""

    uploads: FlowControl
    """The room for answers on their way."""
    downloads: FlowControl = field(default_factory=lambda: FlowControl(DOWN_BYTES))
    """The room for jobs on their way: an offer waits for it, and it is free again when the device
    has the job."""
    now_s: float = 0.0
    """The time as it was last handed in."""
    woke_s: float = -inf
    """When this process went on after it stood still: whoever was silent until then had nobody to
    speak to."""
    beat_s: float = BEAT_S
    clash_s: float = CLASH_S
    chunk_bytes: int = CHUNK_BYTES
    setup: Setup | None = None
    devices: dict[DeviceId, _DeviceState] = field(default_factory=dict)
    clashes: dict[DeviceId, int] = field(default_factory=dict)
    """How often an agent came back although another one had taken its place: two have one
    identity."""

    def enter(self, hello: Hello, now_s: float, instance: str = "") -> tuple[int, list[Output]]:
        """A device says hello: its fence, 0 if it is refused, and what to do. Any older session is
        over.

        `instance` tells one agent from another with the same identity; empty for who does not say.
        """
        self.now_s = now_s
        state = self._state(hello.device)
        version = agree(hello.versions)
        if version is None:
            return 0, [Send(hello.device, _other_versions(hello))]
        refusal = self._refusal(hello.device, state, instance)
        if refusal is not None:
            return 0, [Send(hello.device, refusal)]
        self._displace(state, instance)
        out = self._free(state)
        self._begin(state)
        out.append(Send(hello.device, Welcome(version, state.fence, self.beat_s)))
        if self.setup is not None:
            out.append(Send(hello.device, self.setup))
        unknown = tuple(key for key in hello.unsettled if key not in state.tasks)
        if unknown:
            out.append(AskedFor(hello.device, unknown))
        return state.fence, out + self.offer_all(hello.device)

    def _refusal(self, device: DeviceId, state: _DeviceState, instance: str) -> Refuse | None:
        """Who comes back after another took its place, and that one is still there, does not take
        it again."""
        if state.live and instance != state.instance and instance in state.displaced:
            self.clashes[device] = self.clashes.get(device, 0) + 1
            state.comebacks += 1
            return self.superseded(device)
        if len(state.begun_s) == MOST_SESSIONS and self.now_s - state.begun_s[0] < SESSIONS_S:
            reason = f"too many sessions: {MOST_SESSIONS} in {SESSIONS_S:.0f} s"
            return Refuse(reason, state.begun_s[0] + SESSIONS_S - self.now_s)
        return None

    def _displace(self, state: _DeviceState, instance: str) -> None:
        if instance in state.displaced:
            state.displaced.remove(instance)
        if state.live and instance != state.instance:
            state.displaced.append(state.instance)
        state.instance = instance
        state.comebacks = 0
        state.stopped = False

    def _begin(self, state: _DeviceState) -> None:
        state.fence += 1
        state.live = True
        state.last_seen_s = self.now_s
        state.begun_s.append(self.now_s)

    def superseded(self, device: DeviceId) -> Refuse:
        """The last words to a session after which another of its device has begun: only a second
        agent hears them."""
        return Refuse(
            CLASH, min(self.clash_s * 2 ** min(self._state(device).comebacks, 20), MOST_CLASH_S)
        )

    def offer_all(self, device: DeviceId) -> list[Output]:
        """Jobs that the device has not answered, again."""
        return [
            one for task in self._state(device).tasks.values() for one in self._offer(device, task)
        ]

    def offer_again(self, device: DeviceId, key: str) -> list[Output]:
        """A job that the device has put off."""
        state = self._state(device)
        return self._offer(device, state.tasks[key]) if state.live and key in state.tasks else []

    def _offer(self, device: DeviceId, task: _Task) -> list[Output]:
        if task.out is None or not self.downloads.ask(task.out.key, len(task.out.data)):
            return []
        return self._send_offer(device, task, task.out)

    def _send_offer(self, device: DeviceId, task: _Task, out: Outgoing) -> list[Output]:
        task.down_s = self.now_s
        task.sent_s = self.now_s if task.sent_s is None else task.sent_s
        return [Send(device, message) for message in out.opening()]

    def leave(self, device: DeviceId, fence: int) -> list[Output]:
        """A session is over; its jobs are not."""
        state = self._state(device)
        if state.fence != fence:
            return []
        state.live = False
        return self._free(state)

    def away_s(self, device: DeviceId, now_s: float) -> float:
        """Since the device was last heard; 0 while its lease runs."""
        state = self._state(device)
        silent_s = now_s - max(state.last_seen_s, self.woke_s)
        return 0.0 if state.live and silent_s < LEASE_BEATS * self.beat_s else silent_s

    def doing(self, device: DeviceId, now_s: float) -> Doing:
        """Of several jobs the one that is furthest."""
        state = self._state(device)
        sent = [task.out for task in state.tasks.values() if task.out is not None]
        if not state.fence or self.away_s(device, now_s):
            return "away"
        if any(task.incoming is not None for task in state.tasks.values()):
            return "uploading"
        if any(out.received for out in sent):
            return "working"
        return "receiving" if sent else "idle"

    def prepare(self, setup: Setup) -> list[Output]:
        """Tell everybody what run is on, now and when they come."""
        self.setup = setup
        return [Send(device, setup) for device, state in self.devices.items() if state.live]

    def assign(
        self, device: DeviceId, key: str, data: bytes | Pieces, most_bytes: int
    ) -> list[Output]:
        """Give a device a job; its answer may have `most_bytes`."""
        state = self._state(device)
        if key in state.tasks:
            return []
        state.tasks[key] = task = _Task(Outgoing(key, data, self.chunk_bytes), most_bytes)
        return self._offer(device, task) if state.live else []

    def settle(self, device: DeviceId, key: str, counted: bool) -> list[Output]:
        """The outcome is on disk: tell the device, if it is there; else it will ask."""
        state = self._state(device)
        state.tasks.pop(key, None)
        out = [*self._granted(self.uploads.free(key)), *self._passed(key)]
        return [*out, Send(device, Committed(key, counted))] if state.live else out

    def receive(
        self, device: DeviceId, fence: int, message: AnyMessage, now_s: float
    ) -> list[Output]:
        """Raises WireError for what no device says: end its session."""
        state = self._state(device)
        if not state.live or state.fence != fence:
            return []
        self.now_s = state.last_seen_s = now_s
        match message:
            case Refuse():
                state.stopped = True
                return [Drop(device, fence, STOPPED), *self.leave(device, fence)]
            case Beat():
                state.battery_share = message.battery_share
                return [Send(device, Beat())]
            case Grant() | Received() | Offer() | Chunk() | Decline():
                task = state.tasks.get(message.key)
                if task is not None:
                    return self._about(device, task, message)
                return [AskedFor(device, (message.key,))] if isinstance(message, Offer) else []
        raise WireError(f"{device}: a device does not say {type(message).__name__}")

    def tick(self, now_s: float) -> list[Output]:
        """Now and then: sessions whose lease ran out or whose upload stands still are over."""
        self.now_s = now_s
        out = list[Output]()
        for device, state in self.devices.items():
            reason = self._fault(state) if state.live else ""
            if reason:
                out += [Drop(device, state.fence, reason), *self.leave(device, state.fence)]
        for _, task in self._holders(list(self.downloads.taken)):
            # a slow one goes on, others need not wait
            if task.out is not None and now_s - task.down_s >= STALL_S:
                out += self._passed(task.out.key)
        return out

    def _fault(self, state: _DeviceState) -> str:
        if self.now_s - max(state.last_seen_s, self.woke_s) >= LEASE_BEATS * self.beat_s:
            return "lease"
        granted = [task for key, task in state.tasks.items() if key in self.uploads.taken]
        stalled = any(self.now_s - max(task.moved_s, self.woke_s) >= STALL_S for task in granted)
        return "stalled" if stalled else ""

    def _about(
        self, device: DeviceId, task: _Task, message: Grant | Received | Offer | Chunk | Decline
    ) -> list[Output]:
        match message:
            case Grant() if task.out is not None:
                task.down_s = self.now_s
                return [Send(device, chunk) for chunk in task.out.granted(message)]
            case Received() if task.out is not None:
                task.out.acknowledge(message)
                task.received_s = self.now_s if task.received_s is None else task.received_s
                return self._passed(message.key)
            case Offer():
                return self._offered(device, task, message)
            case Chunk() if task.incoming is not None and message.key in self.uploads.taken:
                return self._chunk(device, task, task.incoming, message)
            case Decline() if task.arrived is None:
                return [*self._passed(message.key), Declined(device, message.key, message.reason)]
        return []

    def _passed(self, key: str) -> list[Output]:
        """A job is with its device, or called off: whose turn it is to get one."""
        out = list[Output]()
        for device, task in self._holders(self.downloads.free(key)):
            if task.out is not None and self.devices[device].live:
                out += self._send_offer(device, task, task.out)
        return out

    def _offered(self, device: DeviceId, task: _Task, offer: Offer) -> list[Output]:
        if task.arrived == offer.digest:
            return [Send(device, Received(offer.key, offer.digest))]
        if task.arrived is not None:
            return [Declined(device, offer.key, "rejected: answered twice, and not the same")]
        if not 1 <= offer.size_bytes <= task.most_bytes:
            reason = (
                f"rejected: offers {offer.size_bytes} bytes, at most {task.most_bytes} are expected"
            )
            return [Declined(device, offer.key, reason)]
        out = self._expect(task, offer)
        if task.incoming is None or not self.uploads.ask(offer.key, offer.size_bytes):
            return out
        task.incoming.begin(self.now_s)
        if eager(offer.size_bytes, self.chunk_bytes):
            return out
        return [*out, Send(device, task.incoming.grant(self.now_s))]

    def _expect(self, task: _Task, offer: Offer) -> list[Output]:
        """Be ready for what is offered: an upload goes on where it was cut, and another one begins
        anew."""
        same = task.incoming is not None and task.incoming.is_of(offer)
        out: list[Output] = [] if same else self._granted(self.uploads.free(offer.key))
        parts = task.incoming.parts if task.incoming is not None and same else []
        task.incoming = Incoming(offer, parts, self.chunk_bytes)
        task.moved_s = task.offered_s = self.now_s
        return out

    def _chunk(
        self, device: DeviceId, task: _Task, incoming: Incoming, chunk: Chunk
    ) -> list[Output]:
        if not incoming.take(chunk, self.now_s):
            return []
        task.moved_s = self.now_s
        if not incoming.complete:
            return [Send(device, incoming.grant(self.now_s))]
        out = self._granted(self.uploads.free(chunk.key))
        task.incoming = None
        if not incoming.sound():
            return [
                *out,
                Declined(
                    device, chunk.key, "rejected: the bytes do not have the digest that was offered"
                ),
            ]
        return out + self._whole(device, task, incoming)

    def _whole(self, device: DeviceId, task: _Task, incoming: Incoming) -> list[Output]:
        offer = incoming.offer
        timed = self._timed(device, task, offer)
        task.arrived = offer.digest
        task.out = None
        usage = Usage(
            busy_s=timed.busy_s,
            energy_j=timed.energy_j,
            up_bytes=offer.size_bytes,
            measured=offer.measured,
        )
        return [
            *self._passed(offer.key),
            Send(device, Received(offer.key, offer.digest)),
            Arrived(device, offer.key, incoming.data, usage, timed),
        ]

    def _timed(self, device: DeviceId, task: _Task, offer: Offer) -> Timed:
        assert task.out is not None, "it goes when the answer is here"
        # begun in an earlier life of this server
        sent_s = task.offered_s if task.sent_s is None else task.sent_s
        received_s, begun_s, done_s = _worked(task, offer, sent_s)
        return Timed(
            job=offer.key,
            device=device,
            sent_s=sent_s,
            received_s=received_s,
            begun_s=begun_s,
            done_s=done_s,
            offered_s=task.offered_s,
            uploaded_s=self.now_s,
            down_bytes=len(task.out.data),
            up_bytes=offer.size_bytes,
            busy_s=_sane(offer.busy_s) or 0.0,
            energy_j=_sane(offer.energy_j) or 0.0,
            metered=offer.measured,
            flops=_sane(offer.flops),
            moved_bytes=_sane(offer.moved_bytes),
        )

    def _granted(self, keys: list[str]) -> list[Output]:
        """Whose turn it is to send."""
        out: list[Output] = []
        for device, task in self._holders(keys):
            task.moved_s = self.now_s
            if task.incoming is not None and self.devices[device].live:
                out.append(Send(device, task.incoming.grant(self.now_s)))
        return out

    def _holders(self, keys: list[str]) -> list[tuple[DeviceId, _Task]]:
        return [
            (device, state.tasks[key])
            for key in keys
            for device, state in self.devices.items()
            if key in state.tasks
        ]

    def _free(self, state: _DeviceState) -> list[Output]:
        ups = [output for key in state.tasks for output in self._granted(self.uploads.free(key))]
        return [*ups, *(output for key in state.tasks for output in self._passed(key))]

    def _state(self, device: DeviceId) -> _DeviceState:
        state = self.devices.get(device)
        if state is None:
            state = self.devices[device] = _DeviceState(last_seen_s=self.now_s)
        return state


def _other_versions(hello: Hello) -> Refuse:
    versions = f"this server speaks {list(VERSIONS)}, the device {list(hello.versions)}"
    return Refuse(f"version: {versions}", UPGRADE_S)


def _sane(count: float | None) -> float | None:
    """What a device says of its work, if it can be."""
    return count if count is not None and 0 <= count < inf else None


def _worked(
    task: _Task, offer: Offer, sent_s: float
) -> tuple[float | None, float | None, float | None]:
    """When a job had come, was begun and done: from what the device says, in the server's time;
    None if unbelievable.

    An answer is offered after its work. What seems to end later began earlier: that the job had
    come was heard late.
    """
    if task.received_s is None or offer.waited_s is None:
        return task.received_s, None, None
    seeming_s = task.received_s + offer.waited_s + offer.busy_s
    done_s = min(seeming_s, task.offered_s)
    begun_s = done_s - offer.busy_s
    if seeming_s > done_s + SKEW_S or not sent_s <= begun_s <= done_s:
        return task.received_s, None, None
    return min(task.received_s, begun_s), begun_s, done_s
