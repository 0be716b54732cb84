"""What `distilfleet split` writes trains a real fleet to the bits of the simulation on the data
that were split."""

from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import RealFleet

import contract
from distilfleet.core.engine import rounds
from distilfleet.core.errors import ConfigError
from distilfleet.data import proxy, sources
from distilfleet.recipes.find import recipe
from distilfleet.recipes.flags import Common, flatten, unflatten
from distilfleet.recipes.simulated import simulated
from distilfleet.service.agent import own_data
from distilfleet.service.partition import SplitFlags, split
from distilfleet.sim.fleet import World

DEVICES = 3
SETTINGS = Common(cohorts="off")


@pytest.fixture(autouse=True)
def closed():
    torch.set_num_threads(1)
    yield
    for fleet in RealFleet.open_ones:
        fleet.close()
    RealFleet.open_ones.clear()


def table(folder: Path) -> Path:
    """Of columns in different units, one of them text; scaled by another part of the rows it would
    be another table."""
    rng = np.random.default_rng(5)
    rows = ["id,kg,place,bar,label"]
    for i in range(240):
        kind = i % 3
        place = "hall" if rng.random() < 0.3 + 0.2 * kind else "yard"
        kg = rng.normal(70 + 9 * kind, 12)
        bar = rng.normal(0.01 * kind, 0.004)
        rows.append(f"{i},{kg:.3f},{place},{bar:.6f},{'abc'[kind]}")
    (folder / "table.csv").write_text("\n".join(rows))
    return folder / "table.csv"


def series(folder: Path) -> Path:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 3, 240)
    waves = np.sin(np.arange(32)[None, :, None] * (0.2 + 0.2 * y)[:, None, None]) * [100.0, 0.1]
    np.savez(folder / "series.npz", x=waves + 5 + rng.normal(size=(240, 32, 2)), y=y)
    return folder / "series.npz"


def texts(folder: Path) -> Path:
    rng = np.random.default_rng(7)
    said = (("light", "lamp", "bright"), ("song", "music", "tune"), ("rain", "sun", "weather"))
    rows = ["said,label"]
    for i in range(120):
        words = rng.choice([*said[i % 3], "please", "now", "the"], 4)
        rows.append(f"{' '.join(words)} {i},{'abc'[i % 3]}")
    (folder / "said.csv").write_text("\n".join(rows))
    return folder / "said.csv"


NETS = {table: {}, series: {}, texts: {"large": "words-m", "small": ["words-s"]}}


def trained(run, fleet) -> object:
    state = run.method.init(run.seed)
    for done in rounds(run.method, run.planner, fleet, state, range(1, 3)):
        state = done.state
    return contract.state_bits(state)


def built(name: str, **settings):
    found = recipe(name)
    return found.build(unflatten(found.flags, {"devices": DEVICES, "cohorts": "off", **settings}))


def test_the_servers_part_alone_is_not_simulated(tmp_path):
    """Devices would train on what they are tested on."""
    split(SplitFlags(data=str(table(tmp_path)), devices=DEVICES, out=tmp_path / "parts"))
    with pytest.raises(ConfigError, match=r"the server's part of divided data.*--fleet"):
        simulated(built("fedavg", data=str(tmp_path / "parts" / "server.npz")), SETTINGS)


@pytest.mark.net
@pytest.mark.parametrize("make", NETS)
def test_simulation_equals_deployment(make, tmp_path):
    data, parts = make(tmp_path), tmp_path / "parts"
    nets = NETS[make]
    whole = built("koala", data=str(data), mixtures=16, **nets)
    split(SplitFlags(data=str(data), devices=DEVICES, out=parts))
    server, proxy_part = str(parts / "server.npz"), str(parts / "proxy.npz")
    served = built("koala", data=server, proxy=proxy_part, mixtures=16, **nets)
    world = World(server=contract.SERVER, cohorts=False)
    owned = {device: own_data(str(parts / f"{device}.npz")) for device in whole.devices}
    real = RealFleet(whole.devices, owned.__getitem__, served.method, world, served.data_spec)
    assert trained(served, real) == trained(whole, simulated(whole, SETTINGS).fleet)
    np.testing.assert_array_equal(served.test.inputs, whole.test.inputs)
    np.testing.assert_array_equal(served.test.labels, whole.test.labels)
    assert served.about["data"]["classes"] == whole.about["data"]["classes"]
    assert served.about["data"]["name"] == data.name


def test_the_servers_part_treats_further_samples_as_the_simulation_does(tmp_path):
    data = table(tmp_path)
    split(SplitFlags(data=str(data), devices=DEVICES, out=tmp_path / "parts"))
    (tmp_path / "proxy.csv").write_text("kg,place,bar\n60,hall,0.01\n80,yard,0.02\n")
    here, there = (sources.load(str(one)) for one in (data, tmp_path / "parts" / "server.npz"))
    one, other = (
        proxy.from_path(str(tmp_path / "proxy.csv"), source).inputs for source in (here, there)
    )
    np.testing.assert_array_equal(one, other)


def test_a_device_part_is_no_server_part(tmp_path):
    split(SplitFlags(data=str(table(tmp_path)), devices=DEVICES, out=tmp_path / "parts"))
    with pytest.raises(ConfigError, match=r"the part of a device; the server's is server\.npz"):
        sources.load(str(tmp_path / "parts" / "device-0.npz"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"prepared_x": np.zeros((3, 2))}, "prepared_x is float64"),
        ({"prepared_x": np.full((3, 2), np.nan, np.float32)}, "expected finite numbers"),
        ({"prepared_y": np.array([0, 1, 9])}, "expected a label for each sample, from 0 to 2"),
        ({"prepared_y": np.array([0, 1, -1])}, "prepared_y has -1; expected classes from 0 on"),
        (
            {"prepared_x": np.zeros((0, 2), np.float32), "prepared_y": np.zeros(0, np.int64)},
            "has no samples",
        ),
        ({"scaling_channels": np.array("middle")}, "scaling_channels is 'middle'"),
        ({"prepared_y": np.array([0, 1])}, "expected int64, one per sample: 3"),
        ({"scaling_kind": np.array("music")}, "scaling_kind is 'music'"),
        ({"columns": np.array("[")}, "columns cannot be read"),
    ],
)
def test_damaged_parts_are_refused_by_name(changed, why, tmp_path):
    sound = {
        "prepared_x": np.zeros((3, 2), np.float32),
        "prepared_y": np.array([0, 1, 2]),
        "classes": np.array(["a", "b", "c"]),
        "scaling_kind": np.array("table"),
        "scaling_offset": np.zeros(2),
        "scaling_factor": np.ones(2),
        "columns": np.array("[]"),
    }
    np.savez(tmp_path / "part.npz", **sound)
    assert len(sources.load(str(tmp_path / "part.npz")).test) == 3
    np.savez(tmp_path / "part.npz", **{**sound, **changed})
    with pytest.raises(ConfigError, match=why):
        sources.load(str(tmp_path / "part.npz"))


# --- text -----------------------------------------------------------------------------------------

SMALL = {
    "teacher": "llama:64x2",
    "student": "llama:32x2",
    "context": 16,
    "vocabulary": 300,
    "pretrain_steps": 2,
}
SHORT = {"steps": 2, "batch": 2, "test_windows": 8, "holdout": 0.2}
TEXTS = {
    "splitkd, a cut": ("splitkd", {"cut": 1}),
    "splitkd, as planned": (
        "splitkd",
        {"smashed": ("int8", "int4"), "teacher_cache": "hidden", "privacy_floor": 1},
    ),
    "splitkd, two clusters": (
        "splitkd",
        {"cut": 1, "cluster": 2, "teacher_cache": "none", "labels": "kept"},
    ),
    "koala_text": ("koala_text", {"public": 6}),
    "fedavg_text": ("fedavg_text", {}),
    "central_kd": ("central_kd", {}),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text and its parts."""
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(8)
    words = ["lamp", "door", "opens", "closes", "at", "nine", "the", "kitchen", "warm", "cold"]
    lines = [" ".join(rng.choice(words, 12)) + "." for _ in range(400)]
    (folder / "notes.txt").write_text("\n\n".join(lines))
    asked = {name: SMALL[name] for name in ("teacher", "context", "vocabulary")}
    split(
        SplitFlags(
            data=str(folder / "notes.txt"),
            devices=DEVICES,
            recipe="splitkd",
            out=folder / "parts",
            **asked,
        )
    )
    return folder


@pytest.mark.net
@pytest.mark.parametrize(("name", "changed"), TEXTS.values(), ids=TEXTS)
def test_simulation_equals_deployment_for_text(name, changed, text):
    whole = built(name, data=str(text / "notes.txt"), **known(name, changed))
    served = built(name, data=str(text / "parts" / "server.npz"), **known(name, changed))
    owned = {device: own_data(str(text / "parts" / f"{device}.npz")) for device in whole.devices}
    world = World(server=contract.SERVER, cohorts=False)
    real = RealFleet(whole.devices, owned.__getitem__, served.method, world, served.data_spec)
    assert trained(served, real) == trained(whole, simulated(whole, SETTINGS).fleet)
    assert served.tokenizer.data == whole.tokenizer.data
    np.testing.assert_array_equal(served.test.inputs, whole.test.inputs)


def known(name: str, changed: dict) -> dict:
    """Settings that this recipe has."""
    has = flatten(recipe(name).flags())
    return {flag: value for flag, value in (SMALL | SHORT).items() if flag in has} | changed


def test_another_context_is_told_before_anything_runs(text):
    with pytest.raises(ConfigError, match=r"windows of \[16\] tokens; --context is 64"):
        built("splitkd", data=str(text / "parts" / "server.npz"))


def test_a_recipe_without_text_has_no_windows(tmp_path):
    with pytest.raises(ConfigError, match="--recipe koala: not a recipe of text"):
        split(SplitFlags(data="digits", recipe="koala", out=tmp_path / "parts"))


def test_parts_of_texts_have_the_texts_that_the_server_needs_and_devices_have_none(tmp_path):
    data = str(texts(tmp_path))
    split(SplitFlags(data=data, devices=DEVICES, out=tmp_path / "parts"))
    parts = {name: np.load(tmp_path / "parts" / f"{name}.npz") for name in PARTS}
    assert [name for name, part in parts.items() if "texts" in part] == ["server", "proxy"]

    def lengths(texts):
        return np.array([[len(text)] for text in texts], np.int32)

    whole = sources.load(data).for_large(lengths)
    served = sources.load(str(tmp_path / "parts" / "server.npz")).for_large(lengths)
    np.testing.assert_array_equal(served.test.large_inputs, whole.test.large_inputs)
    held = proxy.from_path(str(tmp_path / "parts" / "proxy.npz"), served)
    assert (held.for_large.inputs > 0).all()
    assert len(held.for_large) == len(held)


PARTS = ("server", "proxy", "device-0")
