"""The one loop: a round's requests, answered by a fleet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

from .types import Answer, Collect, Fleet, Method, Plan, Planner, Request, Round, Start, State, Wave, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Generic[State]):
    """One finished round."""

    round: int
    plan: Plan
    state: State


def drive(steps: Round[State], fleet: Fleet) -> State:
    """Run one round to its end and return the new server state."""
    answer: Answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as done:
            state: State = done.value
            return state
        answer = _carry_out(request, fleet)


def rounds(
    method: Method[State], planner: Planner, fleet: Fleet, state: State, numbers: range
) -> Iterator[Finished[State]]:
    """Rounds `numbers`, each finished before it is yielded; stop taking to stop."""
    for number in numbers:
        conditions = fleet.conditions(number)
        plan = planner.plan(conditions)
        fleet.adopt(plan)
        state = drive(method.round(state, plan, conditions), fleet)
        yield Finished(round=number, plan=plan, state=state)


def _carry_out(request: Request, fleet: Fleet) -> Answer:
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
    raise TypeError(f"a round yields Wave, Start, Collect or Work, not {type(request).__name__}")
