"""Units and container file: systemd takes them, the command line knows their words, and nobody runs
as root."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distilfleet.service.agent import AgentFlags

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
FLAG = re.compile(r"--([a-z-]+)")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit, tmp_path):
    """Where the command and the file of settings are there."""
    (tmp_path / "agent.env").write_text("AGENT_FLAGS=")
    said = unit.read_text().replace("/opt/distilfleet/bin/distilfleet", sys.executable)
    (tmp_path / unit.name).write_text(
        said.replace("/etc/distilfleet/agent.env", str(tmp_path / "agent.env"))
    )
    command = ["systemd-analyze", "verify", str(tmp_path / unit.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_confined(unit):
    lines = unit.read_text().splitlines()
    assert {"DynamicUser=yes", "User=distilfleet"} & set(lines)
    assert "CapabilityBoundingSet=" in lines
    assert any(line.startswith("MemoryMax=") for line in lines)
    assert {"ProtectSystem=strict", "DynamicUser=yes"} & set(lines)


def test_agents_know_the_flags_that_the_files_use():
    files = (DEPLOY / "distilfleet-agent.service", DEPLOY / "Containerfile")
    lines = [
        line
        for file in files
        for line in file.read_text().splitlines()
        if " agent " in line or "AGENT_FLAGS=" in line
    ]
    used = {name for line in lines for name in FLAG.findall(line)}
    assert {"token", "data", "state", "most-bytes-a-day"} <= used
    assert {name.replace("-", "_") for name in used} <= set(AgentFlags.__slots__)


def test_the_container_runs_as_nobody_special():
    said = [
        line
        for line in (DEPLOY / "Containerfile").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    users = [line for line in said if line.startswith("USER ")]
    assert [shlex.split(line)[1] for line in users] == ["10001"]
    assert said.index(users[0]) > max(i for i, line in enumerate(said) if line.startswith("RUN "))
    assert "ARG EXTRAS=net" in said
