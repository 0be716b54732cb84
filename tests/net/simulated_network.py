"""The network of a simulated world: it drops, repeats, reorders and cuts."""

import random
from dataclasses import dataclass

from distilfleet.net.protocol import Numbering

CROSSING_S, MOST_SWAP_S, MOST_REPEAT_S = 0.01, 8.0, 3.0
"""What a message takes, and by how much it may be overtaken or repeated later."""


@dataclass
class Connection:
    device: str
    server_line: Numbering
    device_line: Numbering
    alive: bool = True
    fence: int = 0
    last_down_s: float = 0.0
    last_up_s: float = 0.0

    def next_s(self, up: bool, now_s: float) -> float:
        """When the next message in this direction is there, if it is not disturbed: after the last
        one."""
        at_s = max(self.last_up_s if up else self.last_down_s, now_s) + CROSSING_S
        if up:
            self.last_up_s = at_s
        else:
            self.last_down_s = at_s
        return at_s


@dataclass
class Network:
    """Chances of each fault, for a message."""

    rng: random.Random
    loss: float
    twice: float
    swap: float

    def quiet(self) -> None:
        """Nothing is lost, repeated or overtaken."""
        self.loss = self.twice = self.swap = 0.0

    def delays_s(
        self, connection: Connection, up: bool, now_s: float, faulty: bool, is_cut: bool
    ) -> list[float]:
        """After how long a message arrives, once or twice; nothing if it never does."""
        chance = self.rng.random() if faulty else 1.0
        if (faulty and is_cut) or chance < self.loss:
            return []
        delay_s = connection.next_s(up, now_s) - now_s
        if chance < self.loss + self.swap:
            delay_s += self.rng.uniform(0, MOST_SWAP_S)
        if chance > 1 - self.twice and faulty:
            return [delay_s, delay_s + self.rng.uniform(0, MOST_REPEAT_S)]
        return [delay_s]
