"""A user's own rows beside the shipped ones: what is written is read, and what is wrong is refused
by name."""

import csv
from dataclasses import replace

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.cost.catalogue import as_csv, device, entries, entry, read, trainable_kinds


@pytest.fixture
def own(tmp_path):
    """Writes a row like the Pi 5's with some cells changed, and gives the file."""

    def write(drop=(), **cells):
        row = (
            next(iter(csv.DictReader(as_csv([replace(entry("rpi-5"), kind="mine")]).splitlines())))
            | cells
        )
        path = tmp_path / "own.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, [name for name in row if name not in drop], extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerow(row)
        return path

    return write


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text(as_csv(entries().values()))
    assert read(path) == dict(entries())


def test_own_rows_join_and_win(own):
    path = own(idle_w="2.5")
    assert entry("mine", path).idle_w == 2.5 and len(entries(path)) == len(entries()) + 1
    assert "mine" in trainable_kinds(path) and "mine" not in trainable_kinds()
    assert device("mine", "d", extra=path).idle_w == 2.5
    with pytest.raises(ConfigError, match="did you mean mine"):
        entry("mime", path)
    corrected = own(kind="rpi-5", idle_w="2.7")
    assert device("rpi-5", "d", extra=corrected).idle_w == 2.7 and entry("rpi-5").idle_w == 3.1


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"idle_w": "two"}, "own.csv, line 2: idle_w is 'two'; expected a number"),
        ({"cores": "4.5"}, "cores is '4.5'; expected a whole number"),
        ({"can_train": "maybe"}, "can_train is 'maybe'; expected yes or no"),
        ({"busy_w": "-1"}, "busy_w is -1; it must be above 0"),
        ({"idle_w": "-1"}, "idle_w is -1"),
        ({"idle_w": "inf"}, "idle_w is inf; it must be above 0 and finite"),
        ({"busy_w": "nan"}, "busy_w is nan; it must be above 0"),
        ({"idle_w": ""}, "idle_w is ''; expected a number"),
        ({"source_power": " "}, "idle_w is given, but not where it is from: fill source_power"),
        ({"kind": ""}, "kind is empty"),
        (
            {"drop": ("radio", "notes")},
            "columns radio, notes are missing; `distilfleet calibrate` writes",
        ),
    ],
)
def test_bad_rows_are_refused_with_their_place(own, cells, said):
    with pytest.raises(ConfigError, match=said):
        read(own(**cells))


def test_a_kind_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(as_csv([entry("rpi-5"), entry("rpi-5")]))
    with pytest.raises(ConfigError, match="'rpi-5' comes twice"):
        read(path)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes(b"\xff\xfe\x00kind")
    with pytest.raises(ConfigError, match="not a CSV file"):
        read(path)
