"""Attempts after which the process died are counted in a row, by what they were at."""

from distilfleet.core.attempts import Attempts


def test_attempts_without_an_end_are_counted_until_something_else_is_begun(tmp_path):
    attempts = Attempts(tmp_path / "tries")
    assert attempts.died("round 1") == 0
    attempts.begin("round 1")
    attempts.begin("round 1")
    assert Attempts(tmp_path / "tries").died("round 1") == 2
    assert attempts.died("round 2") == 0
    attempts.begin("round 2")
    assert attempts.died("round 2") == 1
    attempts.over()
    assert attempts.died("round 2") == 0
    attempts.over()


def test_a_torn_count_is_none_and_a_disk_without_room_stops_nothing(tmp_path):
    attempts = Attempts(tmp_path / "tries")
    for torn in (
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"{}",
        b'{"about": "x", "attempts": null}',
        b'{"about": "x"',
    ):
        attempts.file.write_bytes(torn)
        assert attempts.died("x") == 0
        attempts.begin("x")
        assert attempts.died("x") == 1
    nowhere = Attempts(tmp_path / "gone" / "tries")
    nowhere.begin("x")
    nowhere.over()
    assert nowhere.died("x") == 0
