"""Agents that lie and agents that babble: the product's agent with a worker that lies, or its keys
alone."""

import asyncio
import os
from pathlib import Path
from random import Random

from distilfleet.cli.main import main
from distilfleet.net.keys import Token, badge_of
from distilfleet.net.protocol import VERSIONS, Hello, Numbering
from distilfleet.net.renewal import keys_of
from distilfleet.net.transport import connect
from distilfleet.service import agent as join
from distilfleet.trust.attackers import Liar
from distilfleet.trust.choices import Attack


def lie(attack: Attack, words: list[str]) -> None:
    """An agent that answers as a simulated device does with `--poison`."""
    honest = join.builder

    def builder(*given):
        build = honest(*given)
        return lambda spec: Liar(worker=build(spec), attack=attack, seed=spec.seed)

    join.builder = builder
    main(words)


def babble(words: list[str]) -> None:
    """Enrols, says hello and then nothing that means anything, for ever."""
    given = dict(zip(words[1::2], words[2::2], strict=True))
    asyncio.run(_babble(Token.read(given["--token"]), given["--state"]))


async def _babble(token: Token, state: str) -> None:
    await join._enrolled(token, Path(state))
    badge, rng = badge_of(Path(state)), Random(0)
    while True:
        connection = await connect(badge.address, keys_of(Path(state)))
        try:
            await connection.write(Numbering().write(Hello(VERSIONS, badge.device)))
            for _ in range(rng.randrange(3)):
                await connection.read()
            await connection.write(os.urandom(rng.randrange(1, 2000)))
            while await connection.read() is not None:
                pass
        except ConnectionError:
            pass
        await connection.shut()
        await asyncio.sleep(0.1)
