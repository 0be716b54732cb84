"""Path loss beside the values of Sionna 2.2.0 (`sionna-no-rt`, torch 2.13.0, double precision, TR
38.901 v19.2).

`sionna_2_2_0.csv` has the basic path loss of its UMi (station at 10 m), UMa (25 m) and InH mixed
office (3 m) at devices of 1.5 m, and the chance of line of sight.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from distilfleet.cost.pathloss import (
    INDOOR,
    SCENES,
    UMA,
    UMI,
    breakpoint_m,
    clear_share,
    log_distance,
    losses_db,
)

ORACLE = Path(__file__).with_name("sionna_2_2_0.csv")
SCENE_OF = {"umi": UMI, "uma": UMA, "inh": INDOOR}


def stored() -> list[tuple[str, str, float, float, float]]:
    with ORACLE.open(encoding="utf-8") as lines:
        return [
            (
                row["scene"],
                row["what"],
                float(row["carrier_hz"]),
                float(row["distance_m"]),
                float(row["value"]),
            )
            for row in csv.DictReader(lines)
        ]


@pytest.mark.parametrize("width", [np.float64, np.float32])
@pytest.mark.parametrize("scene", SCENE_OF)
def test_path_loss_is_that_of_sionna(scene, width):
    rows = [row for row in stored() if row[0] == scene and row[1] != "los_share"]
    assert len(rows) >= 54
    for _, what, carrier_hz, distance_m, expected_db in rows:
        clear_db, blocked_db = losses_db(SCENE_OF[scene], np.array([distance_m], width), carrier_hz)
        got_db = clear_db if what == "los_db" else blocked_db
        assert got_db.dtype == width
        assert got_db[0] == pytest.approx(expected_db, abs=1e-4)


@pytest.mark.parametrize("scene", SCENE_OF)
def test_chance_of_line_of_sight_is_that_of_sionna(scene):
    rows = [row for row in stored() if row[0] == scene and row[1] == "los_share"]
    distance_m = np.array([row[3] for row in rows])
    np.testing.assert_allclose(
        clear_share(SCENE_OF[scene], distance_m), [row[4] for row in rows], atol=1e-8
    )


@pytest.mark.parametrize("scene", SCENES.values(), ids=lambda scene: scene.name)
def test_loss_grows_with_distance_and_walls_never_help(scene):
    distance_m = np.geomspace(10, 3000, 400)
    clear_db, blocked_db = losses_db(scene, distance_m, 3.5e9)
    assert (np.diff(clear_db) > 0).all() and (np.diff(blocked_db) > 0).all()
    assert (blocked_db >= clear_db).all()
    share = clear_share(scene, distance_m)
    assert (
        ((share > 0) & (share <= 1)).all() and (np.diff(share) <= 0).all() and share[0] > share[-1]
    )


@pytest.mark.parametrize("scene", [UMI, UMA], ids=lambda scene: scene.name)
def test_the_two_lines_meet_at_the_breakpoint(scene):
    at_m = breakpoint_m(scene, 3.5e9)
    around_db = losses_db(scene, at_m * np.array([0.99, 1.0, 1.01]), 3.5e9)[0]
    slopes = np.diff(around_db)
    assert slopes[1] > 1.7 * slopes[0] > 0


def test_an_exponent_starts_from_free_space():
    clear_db, blocked_db = losses_db(log_distance(4), np.array([1.0, 10.0, 100.0]), 2.4e9)
    np.testing.assert_allclose(clear_db, [40.05, 80.05, 120.05], atol=0.01)
    np.testing.assert_array_equal(clear_db, blocked_db)
