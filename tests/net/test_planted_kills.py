"""What the drill of kills looks at finds bugs that were planted into the real server and agents."""

from dataclasses import replace

import planted_processes as planted
import pytest
from supervised import Fleet, check, flags, running

from cli_runs import table
from distilfleet.cli.main import main
from distilfleet.recipes.simulate import simulate

pytestmark = pytest.mark.net
ROUNDS = 3
LET_GO_S = 3.0
"""After its run a device holds no answer any longer."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.fixture(scope="module")
def simulated(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "run"
    simulate("koala", flags(data, ROUNDS), path)
    return path


BUGS = {
    "told before the checkpoint": (
        planted.told_early,
        main,
        ("round.appended",),
        (),
        "weights differ",
    ),
    "let go when received": (
        main,
        planted.let_go_on_received,
        ("wave.recorded",),
        (),
        "weights differ",
    ),
    "a checkpoint without its name": (
        planted.not_renamed,
        main,
        ("round.committed",),
        (),
        "newest checkpoint",
    ),
    "committed before the checkpoint": (
        planted.committed_early,
        main,
        ("wave.recorded",),
        (),
        "newest checkpoint",
    ),
    "never committed": (
        planted.never_committed,
        main,
        ("round.committed",),
        (),
        "devices keep answers",
    ),
    "half a checkpoint": (planted.torn, main, (f"{planted.HALF}:3",), (), "No older one is sound"),
    "answers forgotten": (main, planted.answers_forgotten, (), ("answer.kept",), "weights differ"),
}
"""What server and agents run, where the server and the first agent are killed, and what the drill
says."""


def drill(folder, data, simulated, programs, kills) -> None:
    fleet = Fleet(folder, data, flags(data, ROUNDS))
    agents = [fleet.agent(number, points) for number, points in enumerate((kills[1], (), ()))]
    kept = [
        replace(fleet.server(kills[0]), program=programs[0]),
        *(replace(one, program=programs[1]) for one in agents),
    ]
    with running(kept):
        check(fleet, kept, simulated, LET_GO_S)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, data, simulated, tmp_path):
    server, agent, killed_server, killed_agent, said = BUGS[bug]
    with pytest.raises(AssertionError, match=said):
        drill(tmp_path, data, simulated, (server, agent), (killed_server, killed_agent))


def test_without_a_bug_the_same_kills_are_survived(data, simulated, tmp_path):
    kills = [
        {point for bug in BUGS.values() for point in bug[at] if planted.HALF not in point}
        for at in (2, 3)
    ]
    drill(tmp_path, data, simulated, (main, main), [sorted(points) for points in kills])
