"""The server between rounds and sessions: waves become jobs of devices, answers become results,
outcomes are journaled.

Like the sessions below it, in `server_side`, it knows no socket, clock or thread. What has to go
out comes back from each method as `Send` and `Drop`.

What is on disk before what
---------------------------

A round is a checkpoint of the server, and on each device a worker that has learnt from its jobs.
The two must agree whenever any process dies, so that the order of writes is the heart of this file:

    devices:  answer and worker on disk -> answer sent                  Committed -> answer may go
                                               |                            ^
    server:           wave over -> outcomes journaled -> checkpoint -> round committed
                                       `record`          (training)       `commit`

- An answer counts when its round's checkpoint is on disk and the journal has that round as
  committed. Only then does its device hear `Committed(counted=True)` and let go of it. If the
  server dies before, it begins the round again under the same keys, and devices give the answers
  that they still hold.
- A job that was missed is journaled at once, because its device hears `Committed(counted=False)` at
  once and takes back what the job did to its worker. After a crash it stays missed, whatever the
  device would say by then.
- `record` comes before the checkpoint. So a checkpoint without its outcomes means that the journal
  has lost something, which `mark` finds out.

A round
-------

    prepare --> begin --> start --> collect ... --> record --> (checkpoint) --> begin of the next
                  |                    |                                            = commit
                  |                    +--AgainError--> begin_again --> start ...
                  +--abandon: the run failed; its last round on disk is committed, all else is
                              called off

`begin` of round n commits round n - 1: that the next one begins says that the checkpoint is on
disk. `plan` may come after `begin`, with who takes part. Several waves of a round may be under way;
each has a ticket. `collect` is asked again and again until its wave is over (`wave.Collecting`),
and raises `AgainError` if other devices are to have the round, `StarvedError` if too few can. A
round that is done again gets a new branch: keys are `RUN~1/JOB` from there on, so that no answer to
the first try is taken for one to the second.

A key
-----

    assigned: in `jobs` --answer or decline--> result of its wave --wave over--> in `outcomes`,
    if it counted in `counted` --commit--> settled

`unknown` has keys that devices asked for and whose outcome is not decided: of the run's round under
way, or of any run while the server has just started and no run is on. A late answer, of a key that
is not in `jobs` any more, is counted and dropped; its device has heard, or will, that it did not
count.

From the network `enter`, `leave`, `receive` and `tick` may come at any time, also between rounds.
What devices ask then is answered from the journal. If nothing was called for `asleep_s`, the
process stood still, and everybody's clocks begin anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from ..core.errors import AgainError, StarvedError, WireError
from ..core.failpoint import reached
from ..core.tally import Timed
from ..core.types import DeviceId, Job, Missed, Plan, Reply, Result, Usage, Wave
from ..core.wire import Body, admit, decode_reply, encode_body
from .journal import Journal, Outcome
from .protocol import (
    AnyMessage,
    Hello,
    Setup,
    branch_of,
    digest_of,
    job_of,
    key_of,
    most_bytes,
    pack_job,
    run_of,
    trunk_of,
)
from .server_side import Arrived, AskedFor, Declined, Drop, Output, Send, ServerSide
from .spool import Spool
from .waiting import Standing, cannot_go_on, waits
from .wave import LONGEST_S, PATIENCE_S, Collecting, Quorum

Outbound = list[Send | Drop]
MOST_TIMED = 5000
"""Jobs of a round whose times are recorded."""
ASLEEP_S = 5.0
"""A process that is not called for so long stood still: it is called twice a second."""
AGAIN_S = 30.0
"""After so long a job is offered again to a device that has put it off, while the round waits for
it."""


@dataclass(slots=True)
class ReportedUsage:
    """What devices said that jobs took, since it was last looked at."""

    usage: Usage = field(default_factory=lambda: Usage(measured=True))
    late: int = 0
    """Answers that came after their wave was over."""
    times: list[Timed] = field(default_factory=list)
    """When the first `MOST_TIMED` answers were sent, worked on and received."""


@dataclass(frozen=True, slots=True)
class _Assigned:
    """A job that a device was given, and the ticket of its wave."""

    ticket: int
    job: Job


@dataclass(slots=True)
class Coordinator:
    """One run on one fleet of sessions."""

    server: ServerSide
    journal: Journal
    run: str = ""
    number: int = 0
    """The round under way."""
    patience_s: float = PATIENCE_S
    longest_s: float = LONGEST_S
    waves: dict[int, Collecting] = field(default_factory=dict)
    tickets: int = 0
    jobs: dict[str, _Assigned] = field(default_factory=dict)
    """Jobs by their keys, while their wave goes on."""
    digests: dict[str, bytes] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    """Outcomes that are not on disk yet."""
    counted: dict[str, str] = field(default_factory=dict)
    """Keys of answers that wait for their round's checkpoint, and their devices."""
    reported: ReportedUsage = field(default_factory=ReportedUsage)
    spool: Spool = field(default_factory=Spool)
    quorum: Quorum = field(default_factory=Quorum)
    """How many devices the round under way needs."""
    roster: Sequence[DeviceId] = ()
    """All devices of the fleet."""
    refused: set[DeviceId] = field(default_factory=set)
    """Devices that declined the round for good before it was done again."""
    others: Sequence[DeviceId] = ()
    """Devices that can do the round again."""
    unknown: dict[str, DeviceId] = field(default_factory=dict)
    """Keys of answers that devices hold and nobody has asked for yet: of this run, or of any before
    it is known."""
    given_up: set[DeviceId] = field(default_factory=set)
    """Devices whose patience ran out, until they come back."""
    waits: str = ""
    """What the round waits for, in words, while it cannot be over with the devices that are
    here."""
    asleep_s: float = ASLEEP_S
    stood_still_s: float = 0.0
    """For how long the process has stood still since somebody looked."""
    called_s: float = inf
    """When this was last called."""
    last_answer_s: float = 0.0
    """When the last answer came, or, of a wave without one, when it began."""
    offered_s: float = 0.0
    """When jobs that were put off were last offered again."""

    # --- from the round ---------------------------------------------------------------------------

    def prepare(self, run: str, spec: bytes, roster: Sequence[DeviceId] = ()) -> Outbound:
        """A run begins or goes on, on these devices. Whatever another run left is called off.

        What devices asked before it was known which run that is can be answered now.
        """
        self.run = run
        self.number = 0
        self.roster = roster
        asked = self.unknown
        self.unknown = {}
        outbound: Outbound = []
        for key, device in asked.items():
            outbound += self._answer(AskedFor(device, (key,)))
        return outbound + self._call_off() + self._handle(self.server.prepare(Setup(run, spec)))

    def abandon(self, number: int) -> Outbound:
        """A run failed after this round. Its answers counted if no later round has begun, all else
        did not."""
        return (self.commit(number) if self.number == number else []) + self._call_off()

    def _call_off(self) -> Outbound:
        left = [
            (key, device) for device, state in self.server.devices.items() for key in state.tasks
        ]
        left += self.counted.items()
        self.waves = {}
        self.jobs = {}
        self.counted = {}
        self.outcomes = []
        self.spool.kept_bytes = 0
        self.waits = ""
        return self._settle(left, False)

    def _settle(self, keys: Iterable[tuple[str, DeviceId]], counted: bool) -> Outbound:
        """What came of these keys is decided, and each device hears it."""
        outbound: Outbound = []
        for key, device in keys:
            outbound += self._handle(self.server.settle(device, key, counted))
        return outbound

    def begin(self, number: int) -> Outbound:
        """A round begins, so all before it are on disk."""
        outbound = self.commit(number - 1) if number > 1 else []
        self.number, self.quorum, self.refused = number, Quorum(), set()
        return outbound

    def begin_again(self) -> tuple[Sequence[DeviceId], Outbound]:
        """Who can have the round under way. Its jobs get keys of a new branch; nothing of its
        answers counts."""
        trunk = trunk_of(self.run)
        self.journal.branch_off(trunk, self.number - 1)
        self.run = branch_of(trunk, self.journal.branches(trunk)[0])
        self.quorum = Quorum()
        self.counted |= self.unknown
        self.unknown = {}
        outbound = self._call_off()
        if self.server.setup is not None:
            outbound += self._handle(self.server.prepare(Setup(self.run, self.server.setup.spec)))
        return self.others, outbound

    def plan(self, plan: Plan) -> None:
        """Who takes part in the round, and how many must."""
        self.quorum = Quorum.of(plan)

    def start(self, wave: Wave, now_s: float) -> tuple[int, Outbound]:
        """Jobs go out. What the journal has as missed stays missed: this round was under way before
        a crash."""
        self._wake(now_s)
        self.tickets += 1
        self.server.now_s = self.last_answer_s = now_s
        given_up = frozenset(self.given_up)
        collecting = Collecting(wave, now_s, self.patience_s, self.longest_s, self.quorum, given_up)
        self.waves[self.tickets] = collecting
        missed = {
            outcome.job: outcome.reason for outcome in self.journal.outcomes(self.run, self.number)
        }
        outbound: Outbound = []
        bodies: dict[int, Body] = {}
        for job in wave.jobs:
            if missed.get(job.id):
                collecting.stays_missed(job, missed[job.id])
                continue
            if id(job.arrays) not in bodies:
                bodies[id(job.arrays)] = encode_body(job.arrays)
            outbound += self._assign(job, bodies[id(job.arrays)])
        return self.tickets, outbound

    def collect(self, ticket: int, now_s: float) -> tuple[list[Result] | None, Outbound]:
        """The results, once the wave is over; None until then.

        Who missed is on disk by then. Answers alone wait for `record`: after a crash the same
        devices give them again. Raises AgainError if the round is to be done again with other
        devices, StarvedError if none can have it.
        """
        self._wake(now_s)
        wave = self.waves[ticket]
        results = wave.finished(now_s, lambda device: self.server.away_s(device, now_s))
        if results is None:
            self._check(wave, now_s)
            return None, []
        del self.waves[ticket]
        self.waits = ""
        reached("wave.over")
        return results, self._finish(results)

    def _finish(self, results: Sequence[Result]) -> Outbound:
        """A wave is over: its outcomes wait for `record`, or are on disk when this returns if a job
        was missed."""
        missed = [result for result in results if isinstance(result, Missed)]
        self.quorum.note(results)
        self.given_up |= {one.device for one in missed if one.reason == "offline"}
        for result in results:
            if isinstance(result, Reply):
                self.spool.let_go(result)
        self.outcomes += [self._outcome(result) for result in results]
        if missed:
            self.record()
        return [one for result in results for one in self._close(result)]

    def record(self) -> None:
        """All outcomes so far are on disk when this returns: they must be before the checkpoint
        that builds on them."""
        if self.outcomes:
            self.journal.record(self.outcomes)
            self.outcomes = []
            reached("wave.recorded")

    def commit(self, number: int) -> Outbound:
        """The checkpoint of this round is on disk: devices may let go of their answers."""
        self.record()
        self.journal.commit(self.run, number)
        reached("round.committed")
        counted = self.counted
        self.counted = {}
        return self._settle(counted.items(), True)

    # --- from the network -------------------------------------------------------------------------

    def enter(self, hello: Hello, now_s: float, instance: str = "") -> tuple[int, Outbound]:
        """A device says hello: its fence, 0 if it is refused, and what to send. See
        `ServerSide.enter`."""
        self._wake(now_s)
        self.given_up.discard(hello.device)
        for wave in self.waves.values() if self.waits else ():
            wave.renew(now_s)
        fence, outputs = self.server.enter(hello, now_s, instance)
        return fence, self._handle(outputs)

    def leave(self, device: str, fence: int) -> Outbound:
        """A device's connection is over. Its jobs are not."""
        return self._handle(self.server.leave(device, fence))

    def receive(self, device: str, fence: int, message: AnyMessage, now_s: float) -> Outbound:
        """Raises WireError: end this session."""
        self._wake(now_s)
        return self._handle(self.server.receive(device, fence, message, now_s))

    def tick(self, now_s: float) -> Outbound:
        """Now and then: who is silent for too long is away, and a round that waits for devices says
        so."""
        self._wake(now_s)
        outbound = self._handle(self.server.tick(now_s))
        self.waits = self._waits(now_s)
        if not self.waits or now_s - self.offered_s < AGAIN_S:
            return outbound
        self.offered_s = now_s
        return outbound + self._offer_again()

    def standing(self) -> Standing:
        """Of the round under way, as it was when this was last called."""
        going = self.waves.values()
        is_quiet = self.called_s - self.last_answer_s >= self.patience_s
        return Standing(
            waits=self.waits,
            is_paused=bool(self.waits) and any(wave.is_paused(self.called_s) for wave in going),
            loses_nothing=is_quiet or not (self.counted or any(wave.answers for wave in going)),
        )

    # --- inside -----------------------------------------------------------------------------------

    def _check(self, wave: Collecting, now_s: float) -> None:
        """Raises AgainError or StarvedError for a wave that waits in vain."""
        if not wave.is_stuck(now_s, lambda device: self.server.away_s(device, now_s)):
            return
        refused = self.refused | wave.refused
        able = [device for device in self.roster if device not in refused]
        here = [
            device
            for device in able
            if wave.spares(device) and not self.server.away_s(device, now_s)
        ]
        if len(here) >= wave.quorum.wanted:
            self.others = here
            self.refused = refused
            words = waits(self.number, wave, wave.unanswered(), now_s)
            raise AgainError(f"round {self.number} is done again by other devices: {words}")
        if len(able) < wave.quorum.wanted:
            raise StarvedError(cannot_go_on(self.number, wave))

    def _wake(self, now_s: float) -> None:
        """A process that stood still heard nobody: its devices have their time anew."""
        slept_s = now_s - self.called_s
        self.called_s = now_s
        if slept_s <= self.asleep_s:
            return
        self.stood_still_s += slept_s
        self.server.woke_s = now_s
        for wave in self.waves.values():
            wave.began_s += slept_s

    def _waits(self, now_s: float) -> str:
        for wave in self.waves.values():
            lacking = wave.lacks(now_s, lambda device: self.server.away_s(device, now_s))
            if lacking:
                return waits(self.number, wave, lacking, now_s)
        return ""

    def _offer_again(self) -> Outbound:
        """What was put off may be done now."""
        outbound: Outbound = []
        for key in {key_of(self.run, job) for wave in self.waves.values() for job in wave.put_off}:
            if key in self.jobs:
                outbound += self._handle(self.server.offer_again(self.jobs[key].job.device, key))
        return outbound

    def _assign(self, job: Job, body: Body) -> Outbound:
        key = key_of(self.run, job.id)
        data = pack_job(job, body)
        self.jobs[key] = _Assigned(self.tickets, job)
        self.reported.usage += Usage(down_bytes=len(data), measured=True)
        return self._handle(self.server.assign(job.device, key, data, most_bytes(job)))

    def _handle(self, outputs: Iterable[Output]) -> Outbound:
        outbound: Outbound = []
        for output in outputs:
            match output:
                case Send() | Drop():
                    outbound.append(output)
                case Arrived():
                    self._arrived(output)
                case Declined():
                    self._resolve(output.key, None, output.reason)
                case AskedFor():
                    outbound += self._answer(output)
        return outbound

    def _arrived(self, arrived: Arrived) -> None:
        self.reported.usage += arrived.usage
        if len(self.reported.times) < MOST_TIMED:
            self.reported.times.append(replace(arrived.timed, job=job_of(arrived.key)))
        try:
            reply = decode_reply(arrived.data)
        except WireError as fault:
            self._resolve(arrived.key, None, f"rejected: {fault}")
            return
        self.digests[arrived.key] = digest_of(arrived.data)
        self._resolve(arrived.key, reply, "")

    def _resolve(self, key: str, reply: Reply | None, reason: str) -> None:
        """A result for the wave that waits for it; outcomes are settled when that wave is over."""
        if key not in self.jobs:
            self.reported.late += 1
            return
        assigned = self.jobs[key]
        wave = self.waves[assigned.ticket]
        job = assigned.job
        if job.id in wave.results:
            return
        result = (
            Missed(job=job.id, device=job.device, reason=reason)
            if reply is None
            else admit(reply, job)
        )
        if isinstance(result, Reply):
            result = self.spool.keep(result)
        if wave.take(result):
            self.last_answer_s = self.called_s

    def _answer(self, asked: AskedFor) -> Outbound:
        """What became of jobs that a device still holds answers to. Unknown ones of this run may
        yet be asked for.

        So may all of them while the server has started and does not know yet which run goes on.
        """
        verdicts = dict(self.journal.verdicts(asked.keys))
        for key in asked.keys:
            if key in verdicts:
                continue
            if self.run and run_of(key) != self.run:
                verdicts[key] = False
            else:
                self.unknown[key] = asked.device
        outbound: Outbound = []
        for key, counted in verdicts.items():
            outbound += self._settle([(key, asked.device)], counted)
        return outbound

    def _outcome(self, result: Result) -> Outcome:
        key = key_of(self.run, result.job)
        reason = result.reason if isinstance(result, Missed) else ""
        digest = b"" if reason else self.digests[key]
        where = {"run": self.run, "job": result.job, "device": result.device}
        return Outcome(key=key, round=self.number, reason=reason, digest=digest, **where)

    def _close(self, result: Result) -> Outbound:
        key = key_of(self.run, result.job)
        self.jobs.pop(key, None)
        self.digests.pop(key, None)
        if isinstance(result, Reply):
            self.counted[key] = result.device
            return []
        return self._handle(self.server.settle(result.device, key, False))
