"""Bugs that the simulation must find: one wrong line each, in the place where it would be made."""

from dataclasses import replace

from simulated import Parts
from simulated_disks import MemoryStore

from distilfleet.net.coordinator import Coordinator
from distilfleet.net.device_side import DeviceSide
from distilfleet.net.job_runner import JobRunner
from distilfleet.net.protocol import Numbering, Received, decode
from distilfleet.net.server_side import AskedFor, ServerSide
from distilfleet.net.spool import Spool
from distilfleet.net.store import SqliteStore
from distilfleet.net.transfer import FlowControl


class CommitsEarly(Coordinator):
    def collect(self, ticket, now_s):
        results, said = super().collect(ticket, now_s)
        counted = {} if results is None else self.counted
        return results, said + [
            x for k, d in counted.items() for x in self._handle(self.server.settle(d, k, True))
        ]


class AnswersNobody(Coordinator):
    def _answer(self, asked):
        return []


class CountsWhatWasMissed(Coordinator):
    def _answer(self, asked):
        return [
            x for k in asked.keys for x in self._handle(self.server.settle(asked.device, k, True))
        ]


class ForgetsTheMissed(Coordinator):
    def _outcome(self, result):
        return replace(super()._outcome(result), reason="")


class RecordsWithTheCommit(Coordinator):
    def record(self):
        pass

    def commit(self, number):
        super().record()
        return super().commit(number)


class ForgetsTheMissedForNow(Coordinator):
    """They wait for the next record too."""

    within = False

    def collect(self, ticket, now_s):
        self.within = True
        try:
            return super().collect(ticket, now_s)
        finally:
            self.within = False

    def record(self):
        if not self.within:
            super().record()


class WaitsInVain(Coordinator):
    """A round is not done again where its own devices are gone and others are there."""

    def _check(self, wave, now_s):
        pass


class WaitsForEver(ServerSide):
    def away_s(self, device, now_s):
        return 0.0


class OffersOnce(ServerSide):
    def offer_all(self, device):
        return []


class NeverAsks(ServerSide):
    def enter(self, hello, now_s, instance=""):
        fence, out = super().enter(hello, now_s, instance)
        return fence, [one for one in out if not isinstance(one, AskedFor)]


class MixesParts(DeviceSide):
    def _offered(self, offer):
        before = self.incoming.get(offer.key)
        out = super()._offered(offer)
        if before is not None and offer.key in self.incoming:
            self.incoming[offer.key].parts = [*before.parts, b"x" * self.chunk_bytes][
                : len(before.parts) + 1
            ]
        return out


class LetsGoOnReceived(DeviceSide):
    def receive(self, message, now_s):
        out = super().receive(message, now_s)
        if isinstance(message, Received) and message.key in self.held:
            del self.held[message.key]
        return out


class ForgetsToHave(DeviceSide):
    def _offered(self, offer):
        self.held.pop(offer.key, None)
        return super()._offered(offer)


class AnswersAnother(DeviceSide):
    """The old answer to a job that has changed."""

    def _offered(self, offer):
        if offer.key in self.held:
            return [Received(offer.key, offer.digest), *self._send(offer.key)]
        return super()._offered(offer)


class TakesBackOne(DeviceSide):
    """Not what was built on it."""

    def _settled(self, message):
        return self._forget(message.key, message.counted)


class NeverReturns(DeviceSide):
    def over(self, now_s):
        return False


class TakesNothingBack(JobRunner):
    def take_back(self, key):
        self.store.keep([key])


class TakesBackOnDisk(JobRunner):
    def take_back(self, key):
        self.store.take_back(key)


class KeepsTheStateBefore(JobRunner):
    def handle(self, key, digest, data):
        self.refresh()
        self.before = self.worker.snapshot()
        return super().handle(key, digest, data)

    def _state_if_due(self, data, busy_s):
        return None if super()._state_if_due(data, busy_s) is None else self.before


class StartsAfresh(JobRunner):
    def __post_init__(self):
        super().__post_init__()
        self.fresh = True


class TornStore(MemoryStore):
    """The answer is not written with the state."""

    def held(self):
        return {}


class ForgetsJobs(MemoryStore):
    """Those since the newest state are not done again."""

    def history(self):
        return replace(super().history(), jobs=())


class ForgetsTooMuch(SqliteStore):
    """All that is older than the newest state, though an answer before it may yet be taken back."""

    def _forget_settled(self, run):
        newest = "select max(number) from work where state is not null"
        self._base.execute(f"delete from work where number < ({newest}) and data is null")


class HearsGaps(Numbering):
    def read(self, data):
        self.received = max(self.received, decode(data)[0] - 1)
        return super().read(data)


class HearsTwice(Numbering):
    def read(self, data):
        number, message = decode(data)
        self.received = max(self.received, number)
        return message


class Crowded(FlowControl):
    def _fits(self, size_bytes):
        return True


class NobodyIsCalled(FlowControl):
    def free(self, key):
        super().free(key)
        return []


class MixesAnswers(Spool):
    """What was spooled for one is what was spooled last."""

    def keep(self, reply):
        kept = super().keep(reply)
        if kept.arrays is not reply.arrays:
            self.last = getattr(self, "last", None) or kept.arrays
            return replace(kept, arrays=self.last)
        return kept


PLANTED = {
    "journal without synchronisation": Parts(journal_synced=False),
    "checkpoint renamed before it is synchronised": Parts(checkpoint_synced=False),
    "committed before the checkpoint": Parts(commit_first=True),
    "committed when the wave is over": Parts(coordinator=CommitsEarly),
    "a device that asks is not answered": Parts(coordinator=AnswersNobody),
    "whoever asks is told that it counted": Parts(coordinator=CountsWhatWasMissed),
    "missed jobs are journaled as answered": Parts(coordinator=ForgetsTheMissed),
    "outcomes are journaled after the checkpoint": Parts(coordinator=RecordsWithTheCommit),
    "missed jobs are not journaled before they are told": Parts(coordinator=ForgetsTheMissedForNow),
    "a round waits in vain while others are there": Parts(coordinator=WaitsInVain),
    "a wave waits for who is gone": Parts(server=WaitsForEver),
    "jobs are not offered again": Parts(server=OffersOnce),
    "nobody is asked what became of old answers": Parts(server=NeverAsks),
    "chunks of two offers are mixed": Parts(side=MixesParts),
    "a device lets go when its answer is received": Parts(side=LetsGoOnReceived),
    "a device does a job again that it has done": Parts(side=ForgetsToHave),
    "an old answer to a changed job": Parts(side=AnswersAnother),
    "what was built on a dropped answer stays": Parts(side=TakesBackOne),
    "a device never notices a dead connection": Parts(side=NeverReturns),
    "a missed job leaves its traces": Parts(runner=TakesNothingBack),
    "a missed job leaves its traces in memory": Parts(runner=TakesBackOnDisk),
    "a worker starts afresh after a crash": Parts(runner=StartsAfresh),
    "the state on disk is of before the job": Parts(runner=KeepsTheStateBefore),
    "jobs since the state on disk are not done again": Parts(store=ForgetsJobs),
    "a state is forgotten that may yet be gone back to": Parts(database=ForgetsTooMuch),
    "answers are lost in a crash and states are not": Parts(store=TornStore),
    "gaps in a session go unnoticed": Parts(numbering=HearsGaps),
    "what comes twice is heard twice": Parts(numbering=HearsTwice),
    "more is granted than there is room": Parts(flow_control=Crowded),
    "answers on disk are mixed up": Parts(spool=MixesAnswers),
    "who waits for room is not called": Parts(flow_control=NobodyIsCalled),
}
