import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import save_file

from distilfleet.core.errors import RecordError
from distilfleet.core.wire import DTYPES
from distilfleet.record.checkpoint import (
    GENERATIONS,
    Checkpoint,
    newest,
    read_checkpoint,
    set_aside,
    write_atomically,
    write_checkpoint,
)

arrays = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20).filter(
        lambda n: n != "__metadata__"
    ),
    hnp.arrays(
        st.sampled_from([np.dtype(d) for d in sorted(DTYPES)]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    max_size=4,
)
plain = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False),
)


def bits(arrays):
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def kept(number, **arrays):
    return Checkpoint(
        round=number, arrays=arrays or {"w": np.arange(4.0) + number}, plain={"wall_s": 0.5}
    )


@given(arrays=arrays, plain=plain, number=st.integers(0, 10**7))
def test_what_is_written_is_read_to_the_bit(tmp_path_factory, arrays, plain, number):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder, Checkpoint(round=number, arrays=arrays, plain=plain))
    back = read_checkpoint(folder)
    assert back.round == number
    assert bits(back.arrays) == bits(arrays)
    assert back.plain == plain


def test_views_are_written_as_what_they_show(tmp_path):
    whole = np.arange(12.0).reshape(3, 4)
    write_checkpoint(
        tmp_path, kept(1, turned=whole.T, some=whole[:, ::2], scalar=np.float64(3).reshape(()))
    )
    back = read_checkpoint(tmp_path).arrays
    assert (back["turned"] == whole.T).all()
    assert (back["some"] == whole[:, ::2]).all()
    assert back["scalar"].shape == ()


def test_the_newest_few_are_kept_and_the_newest_is_read(tmp_path):
    for number in range(12):
        write_checkpoint(tmp_path, kept(number))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [f"round-{number:08d}.safetensors" for number in range(12 - GENERATIONS, 12)]
    assert read_checkpoint(tmp_path).round == 11


def test_half_a_file_is_never_under_the_real_name(tmp_path):
    write_checkpoint(tmp_path, kept(1))
    (tmp_path / "round-00000002.safetensors.unfinished").write_bytes(b"half")
    assert read_checkpoint(tmp_path).round == 1


def test_damage_is_passed_over_and_told(tmp_path):
    for number in range(1, 4):
        write_checkpoint(tmp_path, kept(number))
    files = sorted(tmp_path.iterdir())
    files[2].write_bytes(files[2].read_bytes()[:-9])
    files[1].write_bytes(b"")
    found, faults = newest(tmp_path)
    assert found.round == 1
    assert list(faults) == [files[2], files[1]]
    assert "does not match" in faults[files[2]] or "damaged" in faults[files[2]]
    set_aside(files[2])
    write_checkpoint(tmp_path, kept(2))
    assert newest(tmp_path)[0].round == 2
    assert newest(tmp_path)[1] == {}


def test_no_checkpoint_is_named(tmp_path):
    with pytest.raises(RecordError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)


def test_every_damaged_byte_and_every_missing_end_is_found(tmp_path):
    file = write_checkpoint(tmp_path, kept(1, w=np.arange(6, dtype=np.float32), n=np.array(3)))
    raw = file.read_bytes()
    for at in range(0, len(raw), 3):
        file.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
        assert_damaged_or_same(tmp_path, file)
        file.write_bytes(raw[:at])
        assert_damaged_or_same(tmp_path, file)


def assert_damaged_or_same(folder, file):
    """Some bytes mean nothing (padding); what is read must never be something else."""
    try:
        back = read_checkpoint(folder)
    except RecordError as fault:
        assert file.name in str(fault)
        assert "No older one is sound" in str(fault)
    else:
        assert back.round == 1
        assert bits(back.arrays) == bits(
            kept(1, w=np.arange(6, dtype=np.float32), n=np.array(3)).arrays
        )


def test_arrays_that_changed_places_are_found(tmp_path):
    """Same bytes, other names, types or shapes: the digest covers those too."""
    file = write_checkpoint(tmp_path, kept(1, a=np.arange(6, dtype=np.float32)))
    raw = file.read_bytes()
    for old, new in ((b'"shape":[6]', b'"shape":[2,3]'), (b'"F32"', b'"I32"')):
        assert raw.count(old) == 1
        header_size = int.from_bytes(raw[:8], "little") + len(new) - len(old)
        file.write_bytes(header_size.to_bytes(8, "little") + raw[8:].replace(old, new))
        with pytest.raises(RecordError, match=r"digest|damaged"):
            read_checkpoint(tmp_path)


def test_a_note_that_says_something_else_is_found(tmp_path):
    file = write_checkpoint(tmp_path, kept(1))
    raw = file.read_bytes()
    assert raw.count(b'\\"round\\":1') == 1
    file.write_bytes(raw.replace(b'\\"round\\":1', b'\\"round\\":7'))
    with pytest.raises(RecordError, match="does not match its digest"):
        read_checkpoint(tmp_path)


def test_equal_states_are_equal_files(tmp_path):
    """The entries of a safetensors file's metadata come in an order that is drawn anew each
    time."""
    one = kept(1, a=np.arange(6, dtype=np.float32), b=np.ones(2))
    assert len({write_checkpoint(tmp_path, one).read_bytes() for _ in range(8)}) == 1


def test_a_checkpoint_with_two_entries_as_once_written_is_still_read(tmp_path):
    file = write_checkpoint(tmp_path, kept(1))
    with safe_open(file, framework="numpy") as opened:
        digest, _, note = opened.metadata()["sealed"].partition(" ")
    save_file({"w": np.arange(4.0) + 1}, file, {"note": note, "digest": digest})
    assert read_checkpoint(tmp_path).round == 1


def test_writing_replaces_as_a_whole(tmp_path):
    file = tmp_path / "plan.json"
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]


def test_plain_data_is_json_and_nothing_else(tmp_path):
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path, Checkpoint(round=1, arrays={}, plain={"x": object()}))
    assert list(tmp_path.glob("*.safetensors")) == []
    assert json.dumps({"round": 1})
