import pytest

from distilfleet.core.errors import RecordError
from distilfleet.record.captured import (
    AUDIT,
    WIRE,
    Exchange,
    read_audit,
    read_wire,
    write_audit,
    write_wire,
)

KEPT = {
    "2.0.b/x": Exchange(job=b"job", reply=b"reply"),
    "1.0.a": Exchange(job=b"j", reply=b"", before=b"before"),
}


def test_frames_come_back_byte_for_byte_in_a_fixed_order(tmp_path):
    assert read_wire(tmp_path) == {}
    write_wire(tmp_path, KEPT)
    assert read_wire(tmp_path) == KEPT
    assert list(read_wire(tmp_path)) == ["1.0.a", "2.0.b/x"]
    write_wire(tmp_path, {})
    assert read_wire(tmp_path) == {}


def test_an_audit_comes_back_and_there_need_not_be_one(tmp_path):
    assert read_audit(tmp_path) == {}
    write_audit(tmp_path, {"schema": 1, "attacks": [{"share": 0.5}]})
    assert read_audit(tmp_path)["attacks"] == [{"share": 0.5}]


def test_damage_is_named(tmp_path):
    write_wire(tmp_path, KEPT)
    (tmp_path / WIRE).write_bytes((tmp_path / WIRE).read_bytes()[:-1])
    with pytest.raises(RecordError, match=WIRE):
        read_wire(tmp_path)
    for spoilt in ("{", "[]", '{"schema": 0}'):
        (tmp_path / AUDIT).write_text(spoilt)
        with pytest.raises(
            RecordError, match=r"audit\.json is .*Delete it and run distilfleet audit"
        ):
            read_audit(tmp_path)
