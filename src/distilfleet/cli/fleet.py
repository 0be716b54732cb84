"""The verbs of a real fleet. Each imports its rooms only when it runs."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from ..core.errors import ConfigError
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

    flags = parsed(ServeFlags, "distilfleet serve", words)
    from ..service.fleet_file import fleet_folder
    from ..service.server import serve as served

    _log_to_terminal()
    # as Ctrl-C, and as process 1 of a container too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        served(fleet_folder(flags.fleet))
    except KeyboardInterrupt:
        print("Stopped. Runs go on when the server is started again.", file=sys.stderr)
    return 0


def enrol(words: list[str]) -> int:
    from ..service.server_flags import EnrolFlags

    flags = parsed(EnrolFlags, "distilfleet enrol", words)
    from ..service.enrol import create_token, create_tokens, deny
    from ..service.fleet_file import fleet_folder

    folder = fleet_folder(flags.fleet)
    if flags.what == "deny":
        deny(folder, flags.device)
        print(f"{flags.device} is shut out; `enrol create` lets it in again.")
        return 0
    lasting_s = 3600.0 * flags.hours
    if not flags.all:
        if flags.out is not None:
            raise ConfigError("--out is for the tokens of --all; one token is printed")
        print(create_token(folder, flags.device, lasting_s))
        return 0
    if flags.device or flags.out is None:
        raise ConfigError("--all takes the folder for its tokens, --out tokens, and no --device")
    for file in create_tokens(folder, flags.out, lasting_s):
        print(f"{unquote(file.stem)}: distilfleet agent --token-file {file.name} --data FILE")
    print(f"Copy each file of {flags.out} to its device, run its line there, and remove the file.")
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
        _start_anew(_joined(words))
    return 0


def _joined(words: list[str]) -> str:
    """Reads the flags and enrols; what the agent must know to go on."""
    from ..service.agent_flags import AgentFlags

    flags = parsed(AgentFlags, "distilfleet agent", words)
    from ..service.agent import join

    return join(flags)


def _start_anew(settings: str) -> NoReturn:
    command = [sys.executable, "-m", "distilfleet.cli", "agent", ATTEND, settings]
    os.execv(sys.executable, command)  # noqa: S606


def _leave(_number: int, _frame: Any) -> None:
    _end()


def _end() -> NoReturn:
    """At once, also in the middle of a job: what is on disk is enough, and the job is taken up."""
    os.write(2, b"Stopped. Started again, it goes on where it was.\n")  # `print` may be under way
    os._exit(0)


def runs(words: list[str]) -> int:
    from ..service.server_flags import RunsFlags

    flags = parsed(RunsFlags, "distilfleet runs", words)
    from ..service.client import goes_on, listed
    from ..service.fleet_file import fleet_folder

    name = flags.name
    queue = fleet_folder(flags.fleet).queue
    if flags.what == "stop":
        queue.stop(name)
        again = f"distilfleet runs resume {name} --fleet {flags.fleet}"
        print(
            f"{name} stops after its round, or at once if that has no answer yet. Let it go "
            f"on with: {again}"
        )
    elif flags.what == "resume":
        queue.resume(name)
        print(f"{name} is in the queue again: {goes_on(queue, name)}.")
    elif flags.json:
        print(json.dumps(listed(queue)))
    else:
        print("\n".join(map(_line, listed(queue))) or "No runs.")
    return 0


def _line(row: dict[str, str]) -> str:
    remark = row["error"] or row["waits"]
    return f"{row['name']:<40}  {row['state']:<9}  {row['rounds']}  {remark}".rstrip()


def backup(words: list[str]) -> int:
    from ..service.server_flags import BackUp

    flags = parsed(BackUp, "distilfleet backup", words)
    from ..service.backup import back_up
    from ..service.fleet_file import fleet_folder

    print(f"{flags.to}: {back_up(fleet_folder(flags.fleet), flags.to)}")
    return 0


def split(words: list[str]) -> int:
    from ..service.partition import SplitFlags
    from ..service.partition import split as parted

    flags = parsed(SplitFlags, "distilfleet split", words)
    print(f"{flags.out}: {parted(flags)}")
    return 0


def run(fleet: Path, name: str, words: list[str]) -> int:
    from ..recipes.find import recipe
    from ..recipes.flags import common
    from ..service.client import check_real, submit
    from ..service.fleet_file import fleet_folder

    found = recipe(name)
    flags = parsed(found.flags, f"distilfleet run {name}", words)
    check_real(flags)
    folder = fleet_folder(fleet)
    queued = submit(folder, found.name, flags)
    try:
        _introduce(folder, queued)
        return _follow(folder, queued, common(flags).rounds)
    except KeyboardInterrupt:
        stop = f"distilfleet runs stop {queued} --fleet {fleet}"
        print(
            f"distilfleet: {queued} goes on with the server; this stops it: {stop}", file=sys.stderr
        )
        return STOPPED


def _introduce(folder: "FleetFolder", name: str) -> None:
    """Where a run is that the server has been given, and where it is to be seen."""
    from ..service.client import served_now

    print(f"{name} is with the server; Ctrl-C stops following, not the run.", flush=True)
    page = folder.page
    if page:
        elsewhere = ", or this machine's name from elsewhere" if page.is_anywhere else ""
        print(f"Live page: http://{page.nearby}/{elsewhere}", flush=True)
    if not served_now(folder):
        serve_it = f"distilfleet serve {folder.path}"
        print(f"No server is running here. The run begins when one is: {serve_it}", flush=True)


def _follow(folder: "FleetFolder", name: str, rounds: int) -> int:
    """Print what comes of a run that the server has."""
    from ..report.live import show
    from ..service.client import FailedError, StoppedError, follow, page_of

    last: dict[str, Any] = {}

    def steps() -> Iterator[dict[str, Any]]:
        for line in follow(folder, name, _tell_waits):
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
    for line in missing(last):
        print(line)
    print(f"Page: {page_of(folder, name)}")
    return 0


def _tell_waits(words: str) -> None:
    print(f"Waiting: {words}" if words else "The wait is over: the run goes on.", flush=True)


def missing(line: Mapping[str, Any]) -> list[str]:
    """Who gave no answer in a round, and why; of many, the first."""
    reasons = dict(line.get("missed_jobs", ()))
    lines = [
        f"No answer from {device} in the last round: {reason}" for device, reason in reasons.items()
    ]
    more = len(lines) - MOST_MISSING
    if more <= 0:
        return lines
    return [*lines[:MOST_MISSING], f"... and {more} more"]


def _log_to_terminal() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
