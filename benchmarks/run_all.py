"""Every benchmark that there is, one after the other: what `make bench` runs.

The first ones take minutes, those of quality hours; a finished run of quality is kept.
`gpu_split.py` is left out, as it needs a GPU, and so is the full size of `loss.py`, which takes 20
GB.
"""

import subprocess
import sys
from pathlib import Path

COMMANDS = (
    ("speed.py",),
    ("objectives.py",),
    ("loss.py",),
    ("planner.py",),
    ("fleet.py",),
    ("case_study.py",),
    ("sessions.py",),
    ("splitkd_wire.py",),
    ("leakage.py",),
    ("poison.py", "run"),
    ("poison.py", "report"),
    ("quality.py", "run"),
    ("quality.py", "report"),
    ("quality_text.py", "run"),
    ("quality_text.py", "report"),
)


def main() -> None:
    here = Path(__file__).resolve().parent
    failed = []
    for script, *words in (command for command in COMMANDS if (here / command[0]).exists()):
        print(f"== {' '.join([Path(script).stem, *words])} ==", flush=True)
        if subprocess.run([sys.executable, str(here / script), *words], check=False).returncode:
            failed.append(" ".join([script, *words]))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
