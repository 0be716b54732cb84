"""Exported files beside eager torch: runtime, net and precision, all in one run.

    python benchmarks/export.py [--to onnx ncnn executorch litert] [--nets conv-s wave-s]

Each net has new weights and answers noise, so that bytes and times are those of the architecture.
Times are of one sample on one thread, medians; torch's is measured in this process just before.
A runtime that is not installed is left out and said.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from distilfleet.core.errors import ConfigError
from distilfleet.export.exportable import answers, exportable
from distilfleet.export.files import Wish, export
from distilfleet.export.judge import Check
from distilfleet.export.runtimes import RUNTIMES
from distilfleet.nn import zoo

NETS = {
    "conv-xs": (1, 28, 28),
    "conv-s": (1, 28, 28),
    "conv-bn": (1, 28, 28),
    "wave-s": (3, 128),
    "mlp-s": (64,),
}
WORDS = "words-50k"
BUCKETS = 1500
LENGTH = 32
SAMPLES = 200
TIMED = 300


class Words(torch.nn.Module):
    """A text net of 50 k weights: the mean of rows of hashed words, behind it a layer."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(BUCKETS, 32)
        self.rest = torch.nn.Sequential(
            torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
        )

    def forward(self, ids):
        there = (ids >= 0).unsqueeze(-1)
        rows = self.table(ids.clamp(min=0)) * there
        return self.rest(rows.sum(1) / there.sum(1).clamp(min=1))


def net_of(name):
    """The net in evaluation mode, and what it is asked."""
    chance = np.random.default_rng(0)
    torch.manual_seed(0)
    if name == WORDS:
        return Words().eval(), chance.integers(0, BUCKETS, (SAMPLES, LENGTH)).astype(np.int32)
    shape = NETS[name]
    net = zoo.model(name, shape, 10).build(seed=0).eval()
    return net, chance.normal(size=(SAMPLES, *shape)).astype(np.float32)


def eager_s(net, inputs):
    """Seconds of one sample in torch: the median."""
    torch.set_num_threads(1)
    samples = torch.from_numpy(inputs).split(1)
    times_s = []
    with torch.inference_mode():
        for at in range(TIMED):
            start_s = time.perf_counter()
            net(samples[at % len(samples)])
            times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", nargs="+", default=["onnx", "ncnn", "executorch", "litert"])
    parser.add_argument("--nets", nargs="+", default=[*NETS, WORDS])
    asked = parser.parse_args()
    print("| net | runtime | precision | bytes / weights | torch ms | ms | times as fast |")
    print("|---|---|---|---|---|---|---|")
    for name in asked.nets:
        net, inputs = net_of(name)
        expected = answers(net, inputs)
        check = Check(inputs=inputs, labels=expected.argmax(-1), expected=expected, data="noise")
        for runtime in (RUNTIMES[to] for to in asked.to):
            for precision in runtime.precisions:
                wish = Wish(runtime=runtime, precision=precision, most_loss=100)
                torch_s = eager_s(net, inputs)
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        found = export(exportable(net, inputs), wish, check, Path(folder))
                    except ConfigError as fault:
                        print(f"| {name} | {runtime.name} | {precision} | {str(fault)[:80]} |")
                        continue
                share = found.bytes / found.weight_bytes
                print(
                    f"| {name} | {found.version} | {precision} | {share:.2f} | {1e3 * torch_s:.3f}"
                    f" | {1e3 * found.sample_s:.3f} | {torch_s / found.sample_s:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
