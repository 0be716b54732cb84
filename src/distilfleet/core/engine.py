"""The one loop: a round's requests, answered by a fleet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from .errors import AgainError
from .protocols import Fleet, Method, Planner
from .types import Answer, Collect, Discount, Plan, Round, Start, State, Wave, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Generic[State]):
    """One finished round."""

    round: int
    plan: Plan
    state: State
    discounts: Sequence[Discount] = ()
    """Answers that did not count in full."""


def drive(steps: Round[State], fleet: Fleet, discounts: list[Discount] | None = None) -> State:
    """Run one round to its end and return the new server state; its discounts are added to the
    list."""
    answer: Answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as done:
            state: State = done.value
            return state
        if not isinstance(request, Discount):
            answer = _carry_out(request, fleet)
            continue
        answer = None
        if discounts is not None:
            discounts.append(request)


def rounds(
    method: Method[State],
    planner: Planner,
    fleet: Fleet,
    state: State,
    numbers: range,
    reread: Callable[[], State] | None = None,
) -> Iterator[Finished[State]]:
    """Rounds `numbers`, each finished before it is yielded; stop taking to stop.

    Args:
        reread: the state of the last finished round, from disk: a round that is begun again may
            have used up the one that it was given. None: no fleet asks for that.
    """
    for number in numbers:
        finished = None
        while finished is None:
            try:
                finished = _round(method, planner, fleet, state, number)
            except AgainError:
                state = state if reread is None else reread()
        state = finished.state
        yield finished


def _round(
    method: Method[State], planner: Planner, fleet: Fleet, state: State, number: int
) -> Finished[State]:
    """Raises AgainError if the fleet wants it to be planned for other devices."""
    conditions = fleet.conditions(number)
    plan = planner.plan(conditions)
    fleet.adopt(plan)
    discounts: list[Discount] = []
    state = drive(method.round(state, plan, conditions), fleet, discounts)
    return Finished(round=number, plan=plan, state=state, discounts=tuple(discounts))


def _carry_out(request: Wave | Start | Collect | Work, fleet: Fleet) -> Answer:
    match request:
        case Wave():
            return fleet.collect(fleet.start(request))
        case Start(wave):
            return fleet.start(wave)
        case Collect(ticket):
            return fleet.collect(ticket)
        case Work(load):
            fleet.work(load)
            return None
    raise TypeError(
        f"a round yields Wave, Start, Collect, Work or Discount, not {type(request).__name__}"
    )
