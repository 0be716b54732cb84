import pytest

from distilfleet.core.units import pretty_bytes, pretty_flops, pretty_j, pretty_s, transfer_s


def test_a_link_counts_bits_and_a_file_bytes():
    assert transfer_s(1_000_000, 8e6) == 1.0


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1300, "1.3 kB"),
        (1_300_000, "1.3 MB"),
        (201e9, "201 GB"),
        (5e15, "5 PB"),
    ],
)
def test_byte_counts(size_bytes, shown):
    assert pretty_bytes(size_bytes) == shown


def test_work_and_energy_have_their_own_units():
    assert pretty_flops(2.1e9) == "2.1 GFLOP"
    assert pretty_j(3400) == "3.4 kJ"


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [
        (0.0042, "0.0042 s"),
        (4.2, "4.2 s"),
        (99.4, "99.4 s"),
        (119.6, "2 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(duration_s, shown):
    assert pretty_s(duration_s) == shown
