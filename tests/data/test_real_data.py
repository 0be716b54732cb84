"""Real files, where the folder `shared/data` lies beside the repository."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from distilfleet.data import partition, sources

FOLDER = Path(__file__).parents[3] / "shared" / "data"


def real(name):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(
            f"real data are not here: {name} would lie in shared/data beside the repository"
        )
    return path


def test_mnist():
    source = sources.load(str(real("mnist/mnist_subset.npz")))
    assert (len(source.train), len(source.test)) == (10_000, 2_000)
    assert source.train.shape == (1, 28, 28)
    assert len(source.classes) == 10
    assert source.train.inputs.max() == 1


def test_wisdm_has_one_device_per_person():
    source = sources.load(str(real("wisdm-watch/windows.npz")), label="y", group="subject")
    names, rows = partition.by_group(source.groups)
    assert len(names) == 26
    assert sum(map(len, rows)) == len(source.train)
    assert source.train.shape == (3, 200)
    assert len(source.classes) == 18
    assert np.allclose(source.train.inputs.mean(axis=(0, 2)), 0, atol=1e-3)


def test_speech_commands_by_speaker():
    source = sources.load(str(real("speech-commands/mfcc.npz")), label="y", group="speaker")
    assert source.train.shape == (10, 49)
    assert "_silence_" in source.classes and len(source.classes) == 12
    assert "unknown" in set(source.groups)


@pytest.mark.parametrize("ending", [".txt", ".csv"])
def test_occupancy(tmp_path, ending):
    path = tmp_path / f"rooms{ending}"
    shutil.copy(real("occupancy/datatraining.txt"), path)
    source = sources.load(str(path), label="Occupancy")
    assert source.train.shape == (5,)
    assert source.classes == ("0", "1")
    assert [note.split(":")[0] for note in source.notes[:2]] == [
        "first field of every row dropped",
        "column 'date' dropped",
    ]
