"""What a curious server recovers of split KD's text, by bits, cut and noise: short runs, each
attacked by its audit.

.venv/bin/python benchmarks/leakage.py [--out DIR]
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path

from distilfleet.cli.main import main

SHORT = [
    "--rounds",
    "2",
    "--steps",
    "5",
    "--pretrain-steps",
    "60",
    "--devices",
    "2",
    "--keep-wire",
    "16",
    "--student",
    "llama:64x2",
]
PLAIN = [
    ["--cut", cut, "--smashed", bits]
    for bits in ("fp16", "int8", "int4")
    for cut in ("0", "1", "2")
]
NOISY = [["--cut", cut, "--noise", noise] for cut in ("0", "1", "2") for noise in ("2", "4", "8")]
HEADS = ("flags", "teacher", "student", "labels", "student's loss")


def measured(flags: list[str], data: str, out: Path) -> list[str]:
    words(["run", "splitkd", "--data", data, *SHORT, "--labels", "kept", *flags, "--out", str(out)])
    found = json.loads(words(["audit", str(out), "--json"]))
    share = {row["source"]: f"{100 * row['share']:.1f} %" for row in found["attacks"]}
    shares = [share.get(source, "-") for source in ("teacher", "student", "labels")]
    return [" ".join(flags), *shares, f"{found['run']['small_loss']:.3f}"]


def words(arguments: list[str]) -> str:
    """What the command line prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main(arguments)
        except SystemExit as done:
            if done.code:
                raise
    return said.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(tempfile.mkdtemp()))
    parser.add_argument("--data", default="stdlib")
    asked = parser.parse_args()
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
    for number, case in enumerate([*PLAIN, *NOISY]):
        print(
            "| " + " | ".join(measured(case, asked.data, asked.out / str(number))) + " |",
            flush=True,
        )
