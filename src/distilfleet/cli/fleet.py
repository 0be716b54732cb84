"""The verbs of a real fleet. Each imports its rooms only when it runs."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .words import parsed

if TYPE_CHECKING:
    from ..service.fleet_file import FleetFolder

ATTEND = "--attend"
"""Not for people: goes on as an agent whose flags are read."""
MOST_MISSING = 5
"""Devices that are named when a run is over."""
FAILED = 1
"""Exit code of a run that failed on the server."""
STOPPED = 130
"""Exit code of a run that somebody stopped: it can be resumed."""


def serve(words: list[str]) -> int:
    from ..service.server_flags import ServeFlags

    asked = parsed(ServeFlags, "distilfleet serve", words)
    from ..service.fleet_file import fleet_folder
    from ..service.server import serve as served

    _log_to_terminal()
    # as Ctrl-C, and as process 1 of a container too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        served(fleet_folder(asked.fleet))
    except KeyboardInterrupt:
        print("Stopped. Runs go on when the server is started again.", file=sys.stderr)
    return 0


def enrol(words: list[str]) -> int:
    from ..service.server_flags import EnrolFlags

    asked = parsed(EnrolFlags, "distilfleet enrol", words)
    from ..service.enrol import create_token, deny
    from ..service.fleet_file import fleet_folder

    here = fleet_folder(asked.fleet)
    if asked.what == "deny":
        deny(here, asked.device)
        print(f"{asked.device} is shut out; `enrol create` lets it in again.")
    else:
        print(create_token(here, asked.device, 3600.0 * asked.hours))
    return 0


def agent(words: list[str]) -> int:
    """Reading flags and enrolling take half the memory that an agent may have: a fresh process does
    the rest."""
    _log_to_terminal()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    if words[:1] == [ATTEND]:
        from ..service.agent import attend

        attend(words[1], _end)
    else:
        from ..service.agent_flags import AgentFlags

        asked = parsed(AgentFlags, "distilfleet agent", words)
        from ..service.agent import join

        said = join(asked)
        command = [sys.executable, "-m", "distilfleet.cli", "agent", ATTEND, said]
        os.execv(sys.executable, command)  # noqa: S606
    return 0


def _leave(_number: int, _frame: Any) -> None:
    _end()


def _end() -> NoReturn:
    """At once, also in the middle of a job: what is on disk is enough, and the job is taken up."""
    os.write(2, b"Stopped. Started again, it goes on where it was.\n")  # `print` may be under way
    os._exit(0)


def runs(words: list[str]) -> int:
    from ..service.server_flags import RunsFlags

    asked = parsed(RunsFlags, "distilfleet runs", words)
    from ..service.client import goes_on, listed
    from ..service.fleet_file import fleet_folder

    queue = fleet_folder(asked.fleet).queue
    if asked.what == "stop":
        queue.stop(asked.name)
        again = f"distilfleet runs resume {asked.name} --fleet {asked.fleet}"
        print(
            f"{asked.name} stops after its round, or at once if that has no answer yet. Let it go "
            f"on with: {again}"
        )
    elif asked.what == "resume":
        queue.resume(asked.name)
        print(f"{asked.name} is in the queue again: {goes_on(queue, asked.name)}.")
    else:
        print(
            json.dumps(listed(queue))
            if asked.json
            else "\n".join(_line(row) for row in listed(queue)) or "No runs."
        )
    return 0


def _line(row: dict[str, str]) -> str:
    return (
        f"{row['name']:<40}  {row['state']:<9}  {row['rounds']}  {row['error'] or row['waits']}"
    ).rstrip()


def backup(words: list[str]) -> int:
    from ..service.server_flags import BackUp

    asked = parsed(BackUp, "distilfleet backup", words)
    from ..service.backup import back_up
    from ..service.fleet_file import fleet_folder

    print(f"{asked.to}: {back_up(fleet_folder(asked.fleet), asked.to)}")
    return 0


def split(words: list[str]) -> int:
    from ..service.partition import SplitFlags
    from ..service.partition import split as parted

    asked = parsed(SplitFlags, "distilfleet split", words)
    print(f"{asked.out}: {parted(asked)}")
    return 0


def run(fleet: Path, name: str, words: list[str]) -> int:
    from ..recipes.find import recipe
    from ..recipes.flags import common
    from ..service.client import check_real, submit
    from ..service.fleet_file import fleet_folder

    found = recipe(name)
    flags = parsed(found.flags, f"distilfleet run {name}", words)
    check_real(flags)
    here = fleet_folder(fleet)
    asked = submit(here, found.name, flags)
    try:
        return _followed(here, asked, common(flags).rounds)
    except KeyboardInterrupt:
        stop = f"distilfleet runs stop {asked} --fleet {fleet}"
        print(
            f"distilfleet: {asked} goes on with the server; this stops it: {stop}", file=sys.stderr
        )
        return STOPPED


def _followed(here: "FleetFolder", asked: str, rounds: int) -> int:
    """Print what comes of a run that the server has."""
    from ..report.live import show
    from ..service.client import FailedError, StoppedError, follow, page_of, served_now

    print(f"{asked} is with the server; Ctrl-C stops following, not the run.", flush=True)
    page = here.page
    if page:
        elsewhere = ", or this machine's name from elsewhere" if page.is_anywhere else ""
        print(f"Live page: http://{page.nearby}/{elsewhere}", flush=True)
    if not served_now(here):
        print(
            f"No server is running here. The run begins when one is: distilfleet serve {here.path}",
            flush=True,
        )
    last: dict[str, Any] = {}

    def steps() -> Iterator[dict[str, Any]]:
        for line in follow(here, asked, _tell_waits):
            last.update(line)
            yield line

    try:
        show(rounds, 1, steps(), lambda: False)
    except StoppedError as stopped:
        print(f"Stopped: {stopped}")
        return STOPPED
    except FailedError as failed:
        print(f"distilfleet: {failed}", file=sys.stderr)
        return FAILED
    print("".join(f"{line}\n" for line in missing(last)), end="")
    print(f"Page: {page_of(here, asked)}")
    return 0


def _tell_waits(words: str) -> None:
    print(f"Waiting: {words}" if words else "The wait is over: the run goes on.", flush=True)


def missing(line: Mapping[str, Any]) -> list[str]:
    """Who gave no answer in a round, and why; of many, the first."""
    why = dict(line.get("missed_jobs", ()))
    lines = [
        f"No answer from {device} in the last round: {reason}" for device, reason in why.items()
    ]
    return (
        lines
        if len(lines) <= MOST_MISSING
        else [*lines[:MOST_MISSING], f"... and {len(lines) - MOST_MISSING} more"]
    )


def _log_to_terminal() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
