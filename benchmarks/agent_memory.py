"""Memory of a device's agent, idle and while it serves jobs of a megabyte, and what its install
takes on disk.

    python benchmarks/agent_memory.py [--python BARE/bin/python]

BARE: an environment with `pip install 'distilfleet[net]'` and nothing else; without it, this one.
Idle is the command `distilfleet agent`, enrolled and connected to a server that has no run. Serving
is what that command becomes, with a worker that answers a megabyte with a megabyte; the figure is
the largest of readings every 20 ms. `resident` counts pages of libraries that other processes
share; `private` does not.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

MEGABYTE, JOBS, IDLE_S = 1_000_000, 100, 8.0


def memory_mb(process: int) -> dict[str, float]:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {
        "resident": kb["Rss"] / 1024,
        "private": (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024,
    }


# --- the device -----------------------------------------------------------------------------------


def serve_echo(folder: Path) -> None:
    """As `recipes.join.attend`, with another worker."""
    import numpy as np

    from distilfleet.core.types import Load
    from distilfleet.cost import catalogue
    from distilfleet.net.heap import AGENT_ARENAS, settle_heap
    from distilfleet.net.keys import badge_of
    from distilfleet.service.agent import Agent

    class Echo:
        def load(self, job):
            return Load()

        def handle(self, job):
            return {"x": job.arrays["x"]}

        def snapshot(self):
            return {"count": np.zeros(1)}

        def restore(self, kept):
            pass

    settle_heap(AGENT_ARENAS)
    badge = badge_of(folder)
    device = catalogue.device(badge.kind, badge.device)
    asyncio.run(Agent(badge=badge, folder=folder, device=device, build=lambda spec: Echo()).serve())


# --- the server -----------------------------------------------------------------------------------


def measure(python: str, folder: Path) -> dict[str, float]:
    import numpy as np

    from distilfleet.net.fleet import NetFleet
    from distilfleet.service import enrol
    from distilfleet.service import server as serve
    from distilfleet.service.ask import server_of
    from distilfleet.service.fleet_file import fleet_folder

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "net"))
    from ports import free_ports

    np.savez(folder / "data.npz", x=np.zeros((20, 4), np.float32), y=np.arange(20) % 2)
    sessions, enrolment = free_ports(2)
    file = folder / "fleet.toml"
    file.write_text(
        f'address = "localhost:{sessions}"\nenrol_address = "localhost:{enrolment}"\n[devices]\npi '
        '= "rpi-4b"\n'
    )
    here, figures = fleet_folder(file), dict[str, float]()
    with serve._sessions(here) as (session_server, loop):
        token = enrol.create_token(here, "pi", 3600.0)
        words = [
            "-m",
            "distilfleet.cli",
            "agent",
            "--token",
            token,
            "--data",
            str(folder / "data.npz"),
        ]
        with running([python, *words, "--state", str(folder / "pi")]) as process:
            wait(lambda: "pi" in session_server.live)
            time.sleep(IDLE_S)
            figures |= {f"idle_{name}_mb": value for name, value in memory_mb(process.pid).items()}
        wait(lambda: "pi" not in session_server.live)
        fleet = NetFleet(here.devices, server_of(here), session_server, loop)
        with running([python, __file__, "--serve-echo", str(folder / "pi")]) as process:
            wait(lambda: "pi" in session_server.live)
            figures |= serving(fleet, process.pid)
    return figures


class running:  # noqa: N801
    """A process for a while."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def wait(ready) -> None:
    end_s = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


def serving(fleet, process: int) -> dict[str, float]:
    import threading

    import numpy as np

    from distilfleet.core.types import ArraySpec, Expected, Job, Reply, RunSpec, Wave
    from distilfleet.service.spec import write_spec

    fleet.open(
        "bench", write_spec(RunSpec(method="echo", settings={}, models={}, versions={}, seed=0))
    )
    expected = Expected(arrays={"x": ArraySpec("|u1", (MEGABYTE,))})
    arrays = {"x": np.arange(MEGABYTE, dtype=np.uint8)}
    most: dict[str, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for name, value in memory_mb(process).items():
                most[name] = max(most.get(name, 0.0), value)

    watching = threading.Thread(target=watch)
    watching.start()
    taken_s = []
    for number in range(1, JOBS + 1):
        fleet.conditions(number)
        began_s = time.perf_counter()
        job = Job(id=f"{number}:echo", device="pi", op="echo", arrays=arrays, expected=expected)
        (result,) = fleet.collect(fleet.start(Wave(jobs=[job])))
        taken_s.append(time.perf_counter() - began_s)
        assert isinstance(result, Reply), result
    over.set()
    watching.join()
    figures = {f"serving_{name}_mb": value for name, value in most.items()}
    return {**figures, "jobs": JOBS, "job_median_s": sorted(taken_s)[JOBS // 2]}


def on_disk_mb(python: str) -> float:
    """Installed packages, without those that install others."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = Path(
        subprocess.run(
            [python, "-c", where], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    left_out = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    files = (
        f
        for f in folder.rglob("*")
        if f.is_file() and not f.relative_to(folder).parts[0].startswith(left_out)
    )
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--serve-echo", type=Path)
    asked = parser.parse_args()
    if asked.serve_echo:
        serve_echo(asked.serve_echo)
        return
    with TemporaryDirectory() as folder:
        figures = {"on_disk_mb": on_disk_mb(asked.python), **measure(asked.python, Path(folder))}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
