"""Runs of the product's own command line, each in a process of its own; one that is finished is
kept.

What the scripts of quality share: what to run, and which tables to make of it, is theirs.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distilfleet.record.history import History, read

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
SEEDS = (1, 2, 3)
Job = tuple[Path, list[str]]
"""Where its record goes, and its command line without that."""


def main(about: str | None, jobs: Callable[[], Iterator[Job]], report: Callable[[], str]) -> None:
    """`run` what is missing, the most wanted first, or print the `report` of what is there."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", default="", help="run only what has this in its folder name")
    asked = parser.parse_args()
    if asked.verb == "report":
        print(report())
        return
    wanted = [
        job
        for job in jobs()
        if asked.only in str(job[0].relative_to(ROOT)) and not finished(job[0])
    ]
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(carry_out, wanted))


def carry_out(job: Job) -> None:
    out, words = job
    words = (
        ["run", "--resume", str(out)]
        if (out / "run.toml").is_file()
        else [*words, "--out", str(out)]
    )
    done = subprocess.run(
        [sys.executable, "-m", "distilfleet.cli", *words], capture_output=True, text=True
    )
    print(
        out.relative_to(ROOT), "done" if done.returncode == 0 else done.stderr.strip(), flush=True
    )


def finished(out: Path) -> bool:
    return (out / "report.html").is_file()


def histories(folders: Iterable[Path]) -> list[History]:
    """Of those that are finished."""
    return [read(folder) for folder in folders if finished(folder)]
