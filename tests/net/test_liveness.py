"""Runs get on when enough devices answer, wait when they do not, and planted bugs that starve them
are found."""

import pytest
from liveness import SCENES, live
from simulated import Parts
from simulated_reference import BrokenError

from distilfleet.core.errors import StarvedError
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.protocol import Hello
from distilfleet.net.server_side import MOST_SESSIONS, SESSIONS_S, ServerSide
from distilfleet.net.transfer import FlowControl
from distilfleet.net.wave import Quorum

SEEDS = 150


class Anybody(Quorum):
    def holds(self, without):
        return True


class CountsEmptyRounds(Coordinator):
    """Nobody looks at the minimum once the patience is over."""

    def begin(self, number):
        said = super().begin(number)
        self.quorum = Anybody()
        return said


class HoldsItsSleepAgainstDevices(Coordinator):
    def _wake(self, now_s):
        pass


class OffersOnceWhatIsPutOff(Coordinator):
    def _offer_again(self):
        return []


class TakesForGoodWhatIsPutOff(Coordinator):
    def _resolve(self, key, reply, reason):
        return super()._resolve(key, reply, reason.replace("later", "declined"))


class LeavesTheFailedRunUnderWay(Coordinator):
    def _call_off(self):
        return []


class TakesBackWhatCounted(Coordinator):
    """Of the last round of a run that fails, whose checkpoint is on disk."""

    def abandon(self, number):
        return self._call_off()


class CountsWhatDidNot(Coordinator):
    """A round of which there is no checkpoint."""

    def abandon(self, number):
        return self.commit(self.number) + self._call_off()


STARVING = {
    "empty rounds are counted": ("whole fleet away", Parts(coordinator=CountsEmptyRounds)),
    "the server's sleep is the devices' silence": (
        "server asleep",
        Parts(coordinator=HoldsItsSleepAgainstDevices),
    ),
    "what is put off is not offered again": (
        "all put off",
        Parts(coordinator=OffersOnceWhatIsPutOff),
    ),
    "a failed run is not called off": (
        "a run raises",
        Parts(coordinator=LeavesTheFailedRunUnderWay),
    ),
    "the last round of a failed run is taken back": (
        "a run raises",
        Parts(coordinator=TakesBackWhatCounted),
    ),
    "the broken round of a failed run counts": (
        "a run raises",
        Parts(coordinator=CountsWhatDidNot),
    ),
    "what is put off counts as refused for good": (
        "all put off",
        Parts(coordinator=TakesForGoodWhatIsPutOff),
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_run_gets_on_when_enough_devices_answer_and_waits_until_they_do(scene):
    for seed in range(SEEDS):
        try:
            live(seed, scene)
        except BrokenError as fault:
            pytest.fail(f"seed {seed}: {fault}")


@pytest.mark.parametrize("bug", STARVING)
def test_bugs_that_starve_runs_are_found(bug):
    scene, parts = STARVING[bug]
    for seed in range(SEEDS):
        try:
            live(seed, scene, parts)
        except (BrokenError, StarvedError):
            return
    pytest.fail(f"not found: {bug}")


class LetsAllIn(ServerSide):
    def _refusal(self, device, state, instance):
        return None


def sessions_of_twins(server: ServerSide) -> int:
    """Two agents with one identity that come back at once, for a minute."""
    begun = 0
    for tick in range(int(SESSIONS_S / 0.1)):
        fence, _ = server.enter(Hello((3,), "pi"), tick * 0.1, f"agent-{tick % 2}")
        begun += bool(fence)
    return begun


def test_sessions_of_one_identity_are_bounded_and_a_server_that_lets_all_in_is_found():
    assert sessions_of_twins(ServerSide(uploads=FlowControl(100))) <= MOST_SESSIONS
    assert sessions_of_twins(LetsAllIn(uploads=FlowControl(100))) > MOST_SESSIONS
