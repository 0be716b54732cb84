"""The one job that every contender runs, and how it is timed. Imports no framework, so that any
environment can use it.

Federated averaging of a 64-64-10 perceptron on scikit-learn's digits: IID over N devices by a
seeded shuffle, 15 samples each (reused above 100 devices), C devices a round, one pass of plain
SGD, step size 0.1, batch 8, the test set after every round.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

T_START = time.perf_counter()

import numpy as np  # noqa: E402 (the clock starts before the imports)
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

SAMPLES, OWN, BATCH, LR, SEED = 1500, 15, 8, 0.1, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    devices: int
    per_round: int
    rounds: int


def size() -> Size:
    """From the command line: DEVICES PER_ROUND ROUNDS."""
    parser = argparse.ArgumentParser()
    for name in ("devices", "per_round", "rounds"):
        parser.add_argument(name, type=int)
    torch.set_num_threads(1)
    return Size(**vars(parser.parse_args()))


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and labels, test inputs and labels."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.default_rng(SEED).permutation(len(raw.target))
    x = torch.from_numpy((raw.data[order] / 16).astype(np.float32))
    y = torch.from_numpy(raw.target[order].astype(np.int64))
    return x[:SAMPLES], y[:SAMPLES], x[SAMPLES:], y[SAMPLES:]


def owned(devices: int) -> Tensor:
    """Rows of each device's samples, [devices, 15]: deals of one shuffle after another."""
    rng = np.random.default_rng(SEED + 1)
    deals = [rng.permutation(SAMPLES).reshape(-1, OWN) for _ in range(-(-devices * OWN // SAMPLES))]
    return torch.from_numpy(np.concatenate(deals)[:devices])


def perceptron() -> nn.Sequential:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def learn(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """One device's pass, in place."""
    descent = torch.optim.SGD(net.parameters(), lr=LR)
    for at in range(0, len(x), BATCH):
        descent.zero_grad()
        nn.functional.cross_entropy(net(x[at : at + BATCH]), y[at : at + BATCH]).backward()
        descent.step()


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((net(x).argmax(1) == y).float().mean())


@dataclass(slots=True)
class Laps:
    """The end of each round since the process began, by the clock and by the processor."""

    ends_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)

    def lap(self) -> None:
        self.ends_s.append(time.perf_counter() - T_START)
        self.processor_s.append(time.process_time())

    def report(self, name: str, accuracy: float, data_bytes: int) -> None:
        """The line that `speed.py` reads: rounds without the first, and the time until that one was
        done."""
        facts = {
            "name": name,
            "round_ms": _between_ms(self.ends_s),
            "processor_ms": _between_ms(self.processor_s),
            "start_s": self.ends_s[0],
            "accuracy": accuracy,
            "data_bytes": data_bytes,
        }
        print("RESULT " + json.dumps(facts), flush=True)


def _between_ms(ends_s: Sequence[float]) -> list[float]:
    return [1e3 * float(s) for s in np.diff(ends_s)]
