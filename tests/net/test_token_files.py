"""Tokens in files: one for each board, for its owner alone, good for more than one start."""

import signal

import pytest
from fleets import Processes
from test_real_fleet import until

from distilfleet.core.errors import ConfigError
from distilfleet.net.keys import Token
from distilfleet.service.agent_flags import VARIABLE, AgentFlags
from distilfleet.service.enrol import create_tokens
from distilfleet.service.fleet_file import fleet_folder

pytestmark = pytest.mark.net


@pytest.fixture
def fleet(tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\n'
        'pi-07 = "rpi-4b"\n"shed/pi" = "rpi-4b"\n'
    )
    return fleet_folder(file)


def test_each_device_gets_a_file_that_nobody_else_may_read(fleet, tmp_path):
    files = create_tokens(fleet, tmp_path / "tokens", 60.0)
    assert [file.name for file in files] == ["pi-07.token", "shed%2Fpi.token"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o700
    tokens = [Token.read(AgentFlags(token_file=file).token_text or "") for file in files]
    assert [token.device for token in tokens] == ["pi-07", "shed/pi"]


def test_no_token_is_written_over(fleet, tmp_path):
    files = create_tokens(fleet, tmp_path, 60.0)
    before = [file.read_text() for file in files]
    files[0].unlink()
    with pytest.raises(ConfigError, match=r"shed%2Fpi.token is there already"):
        create_tokens(fleet, tmp_path, 60.0)
    assert not files[0].exists()
    assert files[1].read_text() == before[1]


def test_a_token_comes_from_flags_file_or_environment(tmp_path, monkeypatch):
    assert AgentFlags().token_text is None
    monkeypatch.setenv(VARIABLE, "of-the-environment")
    assert AgentFlags().token_text == "of-the-environment"
    assert AgentFlags(token="of-the-flags").token_text == "of-the-flags"
    with pytest.raises(ConfigError, match="not both"):
        _ = AgentFlags(token="a", token_file=tmp_path / "b").token_text
    with pytest.raises(ConfigError, match="no token can be read there"):
        _ = AgentFlags(token_file=tmp_path / "nothing").token_text


def test_a_device_that_starts_again_with_its_token_is_let_in(tmp_path):
    fleet = Processes(tmp_path)
    (file, _) = create_tokens(fleet.here, tmp_path / "tokens", 3600.0)
    data = tmp_path / "data" / "device-0.npz"
    words = ["--token-file", file, "--data", data, "--state", tmp_path / "device-0"]
    log = tmp_path / "agent.log"
    fleet.start_server()
    try:
        for start in (1, 2):
            agent = fleet._start("agent", *map(str, words))
            fleet.agents["device-0"] = agent
            until(lambda start=start: _joined(log) == start)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(20) == 0
    finally:
        fleet.stop()
    assert (tmp_path / "serve.log").read_text().count("enrolled: device-0") == 1


def _joined(log):
    return log.read_text().count("of the server at") if log.exists() else 0
