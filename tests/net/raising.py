"""Recipes that raise while the server does them, each in a way of its own; `sound` does not."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from distilfleet.core.errors import InfeasibleError
from distilfleet.core.protocols import Planner
from distilfleet.core.types import Conditions, Plan
from distilfleet.recipes.fedavg import Flags, fedavg
from distilfleet.training.experiment import Experiment

AT_ROUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Raising:
    """A planner that is sound for a round."""

    inner: Planner
    fail: Callable[[], None]

    def plan(self, conditions: Conditions) -> Plan:
        if conditions.round == AT_ROUND:
            self.fail()
        return self.inner.plan(conditions)


class WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def throw(fault: BaseException) -> None:
    raise fault


def _failing(flags: Flags, fail: Callable[[], None]) -> Experiment:
    run = fedavg(flags)
    return replace(run, planner=Raising(inner=run.planner, fail=fail))


def sound(flags: Flags) -> Experiment:
    return fedavg(flags)


def error(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(RuntimeError("the third\nsensor \x1b[31mburns\x1b[0m")))


def memory(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(MemoryError()))


def leaves(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(SystemExit(3)))


def interrupts(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(KeyboardInterrupt()))


def cancels(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(asyncio.CancelledError()))


def stops(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(StopIteration("early")))


def closes(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(GeneratorExit()))


def wordless(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(WordlessError()))


def on_purpose(flags: Flags) -> Experiment:
    return _failing(flags, lambda: throw(InfeasibleError("no device meets the limit")))


def no_file(flags: Flags) -> Experiment:
    return _failing(
        flags, lambda: throw(FileNotFoundError(2, "No such file or directory", "calibration.csv"))
    )


def exits(flags: Flags) -> Experiment:
    """With the whole process, as a crash in native code does."""
    return _failing(flags, lambda: os._exit(9))
