"""Answers that do not fit into memory: nothing readable on disk, nothing lost, nothing left."""

import gc
import os

import numpy as np
import pytest

from distilfleet.core.errors import StorageError
from distilfleet.core.types import Reply
from distilfleet.core.wire import encoded_bytes
from distilfleet.net.spool import SealedFile, Spool
from distilfleet.nn.weights import average

RNG = np.random.default_rng(0)
ARRAYS = {
    "w": RNG.standard_normal((7, 5)).astype(np.float32),
    "half": RNG.standard_normal(3).astype(np.float16),
    "count": np.array(12, np.int64),
    "nothing": np.zeros((0, 4), np.float32),
    "bits": np.array([True, False, True]),
}


def reply(device: str, arrays=None) -> Reply:
    return Reply(job="1", device=device, arrays=arrays or ARRAYS)


def test_arrays_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr("distilfleet.net.spool.PIECE_BYTES", 16)
    kept = SealedFile().put(ARRAYS)
    assert (list(kept), len(kept), "w" in kept, "x" in kept) == (
        list(ARRAYS),
        len(ARRAYS),
        True,
        False,
    )
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(kept[name], array)
        assert (kept[name].dtype, kept[name].shape) == (array.dtype, array.shape)
    with pytest.raises(ValueError, match="read-only"):
        kept["w"][0] = 0


def test_only_what_is_over_the_limit_leaves_memory(tmp_path):
    spool = Spool(tmp_path, most_bytes=3 * encoded_bytes(ARRAYS) // 2)
    first, second = spool.keep(reply("a")), spool.keep(reply("b"))
    assert first.arrays is ARRAYS
    assert second.arrays is not ARRAYS
    spool.let_go(first)
    spool.let_go(second)
    assert spool.kept_bytes == 0
    assert spool.keep(reply("c")).arrays is ARRAYS


def test_nothing_of_a_device_can_be_read_from_the_disk(tmp_path):
    secret = np.frombuffer(b"what only this device knows" * 4, np.uint8)
    sealed_file = SealedFile(tmp_path)
    kept = [sealed_file.put({"x": secret}) for _ in range(2)]
    assert list(tmp_path.iterdir()) == []
    there = os.pread(sealed_file._file, 10_000, 0)
    assert len(there) >= 2 * secret.nbytes
    assert b"device" not in there
    one, two = (there[i * len(there) // 2 : (i + 1) * len(there) // 2] for i in range(2))
    assert sum(a == b for a, b in zip(one, two, strict=True)) < len(one) / 4  # no keystream twice
    assert kept[1]["x"].tobytes() == secret.tobytes()


def test_room_is_used_again_and_never_a_number(tmp_path):
    sealed_file = SealedFile(tmp_path)
    kept = [sealed_file.put(ARRAYS) for _ in range(3)]
    size_bytes = os.fstat(sealed_file._file).st_size
    before = os.pread(sealed_file._file, size_bytes, 0)
    del kept[1]
    gc.collect()
    kept.append(sealed_file.put(ARRAYS))
    assert os.fstat(sealed_file._file).st_size == size_bytes
    assert os.pread(sealed_file._file, size_bytes, 0) != before
    for one in kept:
        np.testing.assert_array_equal(one["w"], ARRAYS["w"])
    del kept, one
    gc.collect()
    assert os.fstat(sealed_file._file).st_size == 0


def test_a_disk_that_changes_a_byte_is_found_out(tmp_path):
    sealed_file = SealedFile(tmp_path)
    kept = sealed_file.put(ARRAYS)
    os.pwrite(sealed_file._file, bytes([os.pread(sealed_file._file, 1, 3)[0] ^ 1]), 3)
    with pytest.raises(StorageError, match="lost or changed"):
        kept["w"]


def test_a_full_disk_keeps_answers_in_memory(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, most_bytes=0)
    monkeypatch.setattr(os, "pwrite", full)
    assert spool.keep(reply("a")).arrays is ARRAYS
    monkeypatch.undo()
    np.testing.assert_array_equal(spool.keep(reply("b")).arrays["w"], ARRAYS["w"])


def test_averages_of_spooled_answers_have_the_same_bits(tmp_path):
    rng, sealed_file = np.random.default_rng(1), SealedFile(tmp_path)
    plain = [
        {"w": rng.standard_normal((300, 400)).astype(np.float32), "seen": rng.integers(9, size=3)}
        for _ in range(9)
    ]
    shares = [float(share) for share in rng.uniform(1, 9, size=9)]
    one, other = (
        average(plain, shares),
        average([sealed_file.put(arrays) for arrays in plain], shares),
    )
    assert {name: array.tobytes() for name, array in one.items()} == {
        n: a.tobytes() for n, a in other.items()
    }
