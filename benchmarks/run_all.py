"""Every benchmark that there is, one after the other: what `make bench` runs."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("speed.py", "quality.py")


def main() -> None:
    here = Path(__file__).resolve().parent
    failed = []
    for script in (here / name for name in SCRIPTS if (here / name).exists()):
        print(f"== {script.stem} ==", flush=True)
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            failed.append(script.name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
