"""Every example runs and prints what stands beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def printed(example, folder, *arguments):
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    command = [sys.executable, "-W", "error", str(example), *arguments]
    done = subprocess.run(
        command, env=one_thread, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_is_expected(example, tmp_path):
    out = printed(example, tmp_path)
    if "not here" in out:
        pytest.skip(out.strip())
    assert out == example.with_suffix(".out").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_says_what_data_it_misses(example, tmp_path):
    out = printed(example, tmp_path, str(tmp_path / "nowhere.npz"))
    assert "is not here; name" in out
    assert list(tmp_path.iterdir()) == []


def test_examples_are_short_and_have_their_output_beside_them():
    """Letters are counted, since how many lines they take is a matter of the columns."""
    assert len(EXAMPLES) >= 3
    for example in EXAMPLES:
        assert len("".join(example.read_text(encoding="utf-8").split())) < 2700
        assert example.with_suffix(".out").is_file()
