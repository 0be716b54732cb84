"""What an operator gets wrong, or stops: each ends in a plain sentence, and nothing is lost."""

import asyncio
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from fleets import Processes
from ports import free_ports
from test_real_fleet import until

from distilfleet.cli.fleet import missing
from distilfleet.core.disk import lock
from distilfleet.core.errors import ConfigError
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.keys import Keys, Token
from distilfleet.net.transport import call, listen
from distilfleet.recipes.flags import Common
from distilfleet.recipes.koala import Flags
from distilfleet.service import client, enrol
from distilfleet.service.agent import AgentFlags, join
from distilfleet.service.fleet_file import fleet_folder, shows_secret

pytestmark = pytest.mark.net
DAY_S = 86400.0


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "fleet.toml"
    file.write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\npi-07 = "rpi-4b"\n'
    )
    return file


# --- stopping -------------------------------------------------------------------------------------


def test_a_service_manager_stops_server_and_agent_with_sigterm(tmp_path):
    """A process 1, as in a container, would not even hear it without a handler."""
    fleet = Processes(tmp_path, {"page": '""'})
    fleet.start_server()
    try:
        until((tmp_path / "fleet-state" / "authority" / "identity.sqlite").exists)
        fleet.start_agent(0, new=True)
        until(lambda: "of the server at" in (tmp_path / "agent.log").read_text())
        # the other device never comes
        run = client.submit(fleet.here, "koala", Flags(common=Common(rounds=3)))
        until(lambda: f"{run}: begins" in (tmp_path / "serve.log").read_text())
        until(lambda: "a run begins" in (tmp_path / "agent.log").read_text())
        for process in (fleet.agents["device-0"], fleet.server):
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    finally:
        fleet.stop()
    assert (tmp_path / "agent.log").read_text().endswith("goes on where it was.\n")
    assert (
        (tmp_path / "serve.log")
        .read_text()
        .endswith("Runs go on when the server is started again.\n")
    )
    assert "enrolled: device-0" in (tmp_path / "serve.log").read_text()


# --- tokens and names -----------------------------------------------------------------------------


def test_a_token_that_was_not_copied_whole_is_told_before_anybody_is_asked(file):
    text = enrol.create_token(fleet_folder(file), "pi-07", 60.0)
    assert Token.read(text).device == "pi-07"
    for broken in (
        text[:-1],
        text[1:],
        text[:300] + ("A" if text[300] != "A" else "B") + text[301:],
        "hello",
        "",
    ):
        with pytest.raises(ConfigError, match="not all of it"):
            Token.read(broken)


def test_a_token_is_not_used_up_for_a_device_without_data(tmp_path, file):
    with pytest.raises(ConfigError, match="--data"):
        join(
            AgentFlags(
                token=enrol.create_token(fleet_folder(file), "pi-07", 60.0),
                state=tmp_path / "state",
            )
        )
    assert not (tmp_path / "state").exists()


def test_a_name_that_the_fleet_file_has_not_is_no_device(file):
    with pytest.raises(ConfigError, match="--device"):
        enrol.create_token(fleet_folder(file), "", 60.0)
    for verb in (
        lambda: enrol.deny(fleet_folder(file), "pi-70"),
        lambda: enrol.create_token(fleet_folder(file), "pi-70", 60.0),
    ):
        with pytest.raises(ConfigError, match="does not name pi-70"):
            verb()


def test_only_who_owns_the_servers_folder_writes_there(file, monkeypatch):
    fleet_folder(file).folder("queue")
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(ConfigError, match=r"belongs to .*sudo -u"):
        enrol.create_token(fleet_folder(file), "pi-07", 60.0)


def test_whoever_asks_for_a_run_is_told_that_no_server_is_there(file):
    assert not client.served_now(fleet_folder(file))
    with closing(lock(fleet_folder(file).folder("."), "")):
        assert client.served_now(fleet_folder(file))


def test_who_gave_no_answer_is_named_with_the_reason():
    assert missing({}) == []
    jobs = [["pi-07", "declined: no torch"], ["pi-07", "declined: no torch"]]
    assert missing({"missed_jobs": jobs}) == [
        "No answer from pi-07 in the last round: declined: no torch"
    ]
    assert missing({"missed_jobs": [[f"pi-{i}", "away"] for i in range(9)]})[5:] == [
        "... and 4 more"
    ]


def test_a_fleet_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"No such file.*give its path"):
        fleet_folder(tmp_path / "fleet.toml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('address = "server"', "no address; write HOST:PORT"),
        ('address = "server:70000"', "no address; write HOST:PORT"),
        ('address = ":7443"', "no address; write HOST:PORT"),
        ('address = "server:2"', "the same port"),
        ('server = "rpi-99"', "rpi-99"),
        ("beat_s = -3", "beat_s"),
        ("patience_s = 0", "patience_s"),
    ],
)
def test_a_fleet_file_that_could_not_work_is_refused_at_once(file, line, said):
    name, written = line.split(" ")[0], file.read_text().splitlines()
    file.write_text("\n".join([line, *(old for old in written if not old.startswith(f"{name} "))]))
    with pytest.raises(ConfigError, match=said):
        fleet_folder(file)


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, True), (0o600, False)])
def test_a_token_of_the_page_that_others_can_read_is_worth_a_warning(file, mode, warned):
    file.chmod(mode)
    assert shows_secret(fleet_folder(file)) == ""
    file.write_text('page_token = "a secret of the ward"\n' + file.read_text())
    assert ("chmod 600" in shows_secret(fleet_folder(file))) is warned


def test_a_device_of_an_unknown_kind_is_told_before_the_server_is_ready(file):
    file.write_text(file.read_text().replace("rpi-4b", "rpi-99"))
    with pytest.raises(ConfigError, match="rpi-99"):
        fleet_folder(file)


# --- connections that do not come about -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ahead_s", "foreign", "said"),
    [
        ("localhost", 0.0, True, "not the server that this device"),
        ("other.example", 0.0, False, "for another name"),
        ("localhost", DAY_S, False, "not valid yet; is the clock right"),
        ("localhost", -500 * DAY_S, False, "expired; is the clock right"),
    ],
)
def test_a_device_says_in_plain_words_why_there_is_no_server(
    tmp_path, name, ahead_s, foreign, said
):
    async def answered() -> None:
        with (
            closing(Authority(tmp_path / "ours")) as ours,
            closing(Authority(tmp_path / "another")) as another,
        ):
            trusted = another.pem if foreign else ours.pem
            listening = await listen(
                "localhost:0", ours.server_keys([name], time.time() + ahead_s), {}
            )
            try:
                nobody = Keys(key=b"", certificate=b"", authority=trusted)
                await call(f"localhost:{listening.port}", nobody, "Enrol", b"", 10.0)
            finally:
                await listening.close()

    with pytest.raises(ConnectionError, match=said):
        asyncio.run(answered())


def test_a_port_without_a_server_and_a_certificate_of_last_month_are_told_apart(tmp_path):
    async def asked(keys: Keys, port: int) -> None:
        await call(f"localhost:{port}", keys, "Renew", b"", 10.0)

    async def old() -> None:
        with closing(Authority(tmp_path / "ours")) as ours:
            key, request = new_request("pi-07")
            old = Keys(
                key=key,
                certificate=ours.sign("pi-07", request, time.time() - 30 * DAY_S),
                authority=ours.pem,
            )
            listening = await listen(
                "localhost:0", ours.server_keys(["localhost"], time.time()), {}, _unused
            )
            try:
                with pytest.raises(ConnectionError, match="may be too old"):
                    await asked(old, listening.port)
            finally:
                await listening.close()
            with pytest.raises(ConnectionError, match="nobody listens there"):
                await asked(old, free_ports(1)[0])

    asyncio.run(old())


async def _unused(_peer, _stream) -> None:
    raise AssertionError("no session was to begin")
