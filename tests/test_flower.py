"""A run over a real Flower federation on loopback: a SuperLink, two SuperNodes, and our apps.

Flower is installed apart, since its pins clash with ours: `make test-flower` makes an environment
of its own and runs this. Without Flower there is nothing to test.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytest.importorskip("flwr", reason="Flower is installed apart: make test-flower")

from distilfleet.core.errors import ConfigError
from distilfleet.flower import _built
from distilfleet.recipes import koala
from distilfleet.recipes.flags import Common, Training
from distilfleet.recipes.simulate import simulate
from distilfleet.record.history import read
from distilfleet.service.partition import SplitFlags, split

FLOWER = Path(sys.executable).parent
DEVICES = {"device-0": "rpi-4b", "device-1": "rpi-4b"}
ROUNDS = 2
STARTS_S = 60.0
ENDS_S = 500.0
APP = """\
from distilfleet.flower import client_app, server_app
from distilfleet.service.agent_flags import Consent

server = server_app(
    "koala", devices={devices}, data="{data}/server.npz", proxy="{data}/proxy.npz", out="{out}",
    rounds={rounds}, seed=3, large="mlp-m", small=["mlp-s"], local_passes=1,
)
client = client_app(Consent(label_counts=True))
"""
PROJECT = """\
[project]
name = "trial"
version = "1.0.0"
description = "A trial"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "distilfleet"

[tool.flwr.app.components]
serverapp = "trial:server"
clientapp = "trial:client"
"""


@contextmanager
def federation(folder, data, port):
    """The address of a SuperLink with a SuperNode for each device, all ended by their ids."""
    environment = {
        **os.environ,
        "FLWR_HOME": str(folder / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{FLOWER}:{os.environ['PATH']}",
    }
    (folder / "home").mkdir()
    (folder / "home" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    address = ["--insecure", "--host", "127.0.0.1", "--port", str(port)]
    commands = [["flower-superlink", *address, "--disable-runtime-dependency-installation"]]
    for number, name in enumerate(DEVICES):
        config = f'device="{name}" data="{data / name}.npz"'
        node = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(port + 1 + number)]
        commands.append(["flower-supernode", *node, "--node-config", config])
    running = []
    try:
        for command in commands:
            with (folder / f"{len(running)}.log").open("wb") as log:
                started = subprocess.Popen(
                    [str(FLOWER / command[0]), *command[1:]],
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            running.append(started)
            time.sleep(8 if len(running) == 1 else 2)
        yield environment
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_run_over_flower_gives_the_weights_of_a_simulation(tmp_path):
    data = tmp_path / "data"
    split(SplitFlags(data="digits", devices=2, seed=3, out=data))
    app = tmp_path / "trial"
    app.mkdir()
    out = tmp_path / "run"
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "trial.py").write_text(APP.format(devices=DEVICES, data=data, rounds=ROUNDS, out=out))
    with federation(tmp_path, data, 8723) as environment:
        said = subprocess.run(
            [str(FLOWER / "flwr"), "run", str(app), "here", "--stream"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ENDS_S,
        )
    assert out.is_dir(), said.stdout + said.stderr
    history = read(out)
    assert len(history.rounds) == ROUNDS
    assert [row["devices"] for row in history.rounds] == [2] * ROUNDS
    assert (out / "report.html").is_file()
    common = Common(rounds=ROUNDS, devices=2, device_kinds=("rpi-4b",), seed=3, cohorts="off")
    flags = koala.Flags(
        common=common,
        large="mlp-m",
        smalls=koala.Smalls(small=("mlp-s",)),
        training=Training(local_passes=1),
    )
    simulated = simulate("koala", flags, tmp_path / "simulated")
    assert [row["large_accuracy"] for row in simulated.rounds] == [
        row["large_accuracy"] for row in history.rounds
    ]
    files = sorted((tmp_path / "simulated" / "models").rglob("*.safetensors"))
    assert len(files) == 2
    for ours in files:
        theirs = load_file(out / ours.relative_to(tmp_path / "simulated"))
        for name, array in load_file(ours).items():
            np.testing.assert_array_equal(array, theirs[name])


def test_split_kd_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="a message for each step"):
        _built("splitkd", DEVICES, {})
