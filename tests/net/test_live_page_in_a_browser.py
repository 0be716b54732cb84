"""The live page in headless Chromium, of a real server with real agents doing a small run: it goes
on by itself."""

from contextlib import closing

import pytest
from browser import PROGRAM, Browser
from fleets import KINDS, Processes, kill
from ports import free_ports
from test_real_fleet import until

from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.koala import Flags
from distilfleet.service import client

pytestmark = [pytest.mark.net, pytest.mark.slow]
ROUNDS = 10_000
BEATS = {"beat_s": 1.0}
"""A device is away after three."""
LOST = "document.getElementById('lost')?.hidden"
"""Whether the page sees its server."""
WORDS = "document.body?.innerText ?? ''"


@pytest.fixture
def fleet(tmp_path):
    (port,) = free_ports(1)
    fleet = Processes(tmp_path, {"page": f'"localhost:{port}"', **BEATS}, forked=True)
    fleet.start_server()
    try:
        until((tmp_path / "fleet-state" / "authority" / "identity.sqlite").exists)
        for number in range(len(KINDS)):
            fleet.start_agent(number, new=True)
        yield fleet
    finally:
        fleet.stop()


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")
def test_an_open_page_goes_on_by_itself(fleet, tmp_path):
    run = client.submit(fleet.here, "koala", flags())
    queue = fleet.here.queue
    with closing(Browser(tmp_path / "browser")) as browser:
        browser.open(f"http://{fleet.settings['page']}/".replace('"', ""))
        until(lambda: f"{len(KINDS)} of {len(KINDS)} devices are here" in browser.tell(WORDS))
        browser.tell("window.loaded = 'once'")
        until(lambda: done(browser) >= 1)
        first = done(browser)
        browser.tell("document.querySelector('#slot-record details').open = true")
        until(lambda: done(browser) >= first + 2)
        assert browser.tell("window.loaded") == "once", "the page was not loaded again"
        assert browser.tell("document.querySelector('#slot-record details').open"), (
            "what was open stays open"
        )
        assert (
            browser.tell("document.querySelectorAll('#slot-results .plot[tabindex]').length") >= 1
        )
        assert browser.tell(LOST)
        assert browser.tell("document.title").endswith(f"/{ROUNDS} KOALA on digits · distilfleet")

        kill(fleet.agents["device-1"])
        until(lambda: f"{len(KINDS) - 1} of {len(KINDS)} devices are here" in browser.tell(WORDS))
        browser.tell("document.querySelector('#slot-top button').click()")
        until(
            lambda: (
                browser.tell("window.loaded ?? 'again'") == "again" and browser.tell(LOST) is True
            )
        )
        until(lambda: queue.to_stop(run) or queue.entry(run).state == "stopped")
        kill(fleet.server)
        until(lambda: browser.tell(LOST) is False)
        fleet.start_server()
        until(lambda: browser.tell(LOST))


def flags() -> Flags:
    common = Common(
        rounds=ROUNDS, devices=len(KINDS), device_kinds=KINDS, cohorts="off", deadline_s=10.0
    )
    training, smalls = Training(local_passes=1), Smalls(small=("conv-xs",))
    return Flags(common=common, training=training, smalls=smalls, large="conv-s", mixtures=8)


def done(browser: Browser) -> int:
    return browser.tell(
        r"Number(((document.body?.innerText ?? '').match(/Under way: (\d+) of/) || [0, 0])[1])"
    )
