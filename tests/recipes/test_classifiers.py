import numpy as np
import pytest

from distilfleet.core.chance import stream
from distilfleet.core.errors import ConfigError, InfeasibleError
from distilfleet.methods.local import Alone
from distilfleet.nn.profile import profile, training_memory_bytes
from distilfleet.recipes.classifiers import (
    Models,
    assemble,
    assign,
    classifier_setup,
    large_model,
    local,
)
from distilfleet.recipes.division import LEAST_OWN, divide
from distilfleet.recipes.flags import Common, ProxyData, Smalls, Training
from distilfleet.recipes.simulated import simulated

KINDS = ("rpi-zero-2w", "rpi-4b", "jetson-nano")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two hundred samples of five owners, as .npz."""
    rng = stream(0, "scene")
    labels = rng.integers(0, 3, 200)
    path = tmp_path_factory.mktemp("scene") / "table.npz"
    inputs = rng.normal(size=(200, 6)) + labels[:, None]
    np.savez(path, x_train=inputs, y_train=labels, group_train=rng.integers(0, 5, 200).astype(str))
    return str(path)


def setup(table, proxy=ProxyData(), **flags):  # noqa: B008 (frozen)
    return classifier_setup(
        Common(**{"data": table, "devices": 6, "device_kinds": KINDS, **flags}), proxy
    )


def rows(own):
    return np.concatenate(
        [np.asarray(some) for some in divide(own.private, own.groups, own.common).rows]
    )


def partition(own):
    return own.simulation().partition


def sizes(own):
    """Of what each device owns."""
    data = own.simulation().data
    return [len(data(device)) for device in own.devices]


def facts(own, *, mode="homogeneous"):
    """What `fleet.json` says."""
    smalls = assign(own, Smalls(mode=mode), 16)
    settings = local(Training())
    method = Alone(smalls=smalls, local=settings)
    experiment = assemble(own.common, own, method, Models(smalls=smalls, local=settings))
    return simulated(experiment, own.common).facts


@pytest.mark.parametrize("alpha", [0.1, 0.5, 100.0])
def test_devices_share_out_the_private_data(alpha, table):
    own = setup(table, alpha=alpha)
    assert sorted(rows(own)) == list(range(len(own.private)))
    assert min(sizes(own)) >= 2
    assert sum(sizes(own)) == len(own.private) == own.simulation().samples


def test_private_proxy_and_test_data_are_apart(table):
    own = setup(table)
    seen = [
        part.inputs.tobytes()
        for part in (own.private, own.proxy, own.source.test)
        for part in part.batches(1)
    ]
    assert len(set(seen)) == len(seen) == 200
    assert own.proxy.labels is None


def test_the_same_seed_divides_alike(table):
    one, same, other = setup(table), setup(table), setup(table, seed=1)
    assert rows(one).tolist() == rows(same).tolist()
    assert one.proxy.inputs.tobytes() == same.proxy.inputs.tobytes() != other.proxy.inputs.tobytes()


def test_kinds_take_turns(table):
    own = setup(table)
    assert [device.kind for device in own.devices.values()] == [*KINDS, *KINDS]
    assert set(own.kinds) == set(KINDS)


def test_owners_are_devices(table):
    own = setup(table, devices=None, group="group_train")
    assert list(own.devices) == ["0", "1", "2", "3", "4"]
    assert "one device per owner" in partition(own)
    with pytest.raises(ConfigError, match="leave out --alpha, --skew and --devices"):
        setup(table, group="group_train")


def test_a_fleet_larger_than_its_data_shares_samples(table):
    own = setup(table, devices=500, alpha=float("inf"))
    assert len(own.devices) == 500
    assert set(sizes(own)) == {LEAST_OWN}
    assert "shared" in partition(own)


def test_a_quota_holds_memory_down(table):
    own = setup(table, memory_quota_bytes=10**6)
    assert {device.memory_bytes for device in own.devices.values()} == {10**6}
    said = facts(own)
    assert said["quota_bytes"] == 10**6
    assert all(one["memory_bytes"] == 10**6 < one["board_memory_bytes"] for one in said["shown"])


def test_facts_show_labels_and_models(table):
    own = setup(table)
    said = facts(own)
    assert (said["total"], said["kinds"]) == (6, dict.fromkeys(KINDS, 2))
    assert sum(sum(one["labels"]) for one in said["shown"]) == len(own.private)
    assert [one["samples"] for one in said["shown"]] == sizes(own)
    assert {one["model"] for one in said["shown"]} == {"mlp-m"}


# --- models ---------------------------------------------------------------------------------------


def test_all_devices_get_one_model_or_each_what_it_affords(table):
    own = setup(table)
    assert {model.name for model in assign(own, Smalls(), 16).values()} == {"mlp-m"}
    each = assign(own, Smalls(mode="heterogeneous"), 16)
    flops = [profile(each[kind]).train_flops for kind in KINDS]
    assert flops == sorted(flops)
    assert len(set(flops)) > 1


def test_a_small_memory_gets_a_smaller_model(table):
    own = setup(table)
    middle = next(iter(assign(own, Smalls(), 16).values()))
    tight = setup(table, memory_quota_bytes=training_memory_bytes(profile(middle), 16) - 1)
    assert next(iter(assign(tight, Smalls(), 16).values())).name == "mlp-s"


def test_models_can_be_named_for_all_or_for_a_kind(table):
    own = setup(table)
    named = ("mlp-xs", "rpi-4b=mlp-l")
    chosen = assign(own, Smalls(small=named, mode="heterogeneous"), 16)
    assert {kind: model.name for kind, model in chosen.items()} == {
        "rpi-zero-2w": "mlp-xs",
        "rpi-4b": "mlp-l",
        "jetson-nano": "mlp-xs",
    }
    with pytest.raises(ConfigError, match="--mode heterogeneous"):
        assign(own, Smalls(small=named), 16)


def test_what_cannot_be_trained_is_named_with_its_size(table):
    own = setup(table, memory_quota_bytes=5000)
    with pytest.raises(InfeasibleError, match=r"cannot train mlp-l: it needs .* bytes.*--small"):
        assign(own, Smalls(small=("mlp-l",)), 16)


def test_the_large_model_is_the_zoos_or_the_named(table):
    own = setup(table)
    assert large_model(None, own).name == "mlp-xl"
    assert large_model("mlp-s", own).name == "mlp-s"


def test_quantities_can_be_uneven_in_place_of_labels(table):
    even = setup(table, alpha=float("inf"), devices=3)
    uneven = setup(table, alpha=0.3, devices=3, skew="quantity")
    assert "uneven quantities" in partition(uneven)
    assert sum(sizes(uneven)) == sum(sizes(even))
    assert max(sizes(uneven)) > max(sizes(even))


def owned(path, counts):
    """A table whose owners have so many samples each."""
    owners = [name for name, count in counts.items() for _ in range(count)]
    rows = [f"{n % 7},{n % 2},{owner}" for n, owner in enumerate(owners)]
    path.write_text("\n".join(["x,label,group", *rows, ""]))
    return str(path)


def test_owners_of_whom_nothing_is_left_are_named_and_are_no_devices(tmp_path):
    data = owned(tmp_path / "a.csv", {"ann": 40, "bob": 40, **{f"rare{n}": 1 for n in range(8)}})
    own = setup(data, devices=None)
    lost = [f"rare{n}" for n in range(8) if f"rare{n}" not in own.devices]
    assert 0 < len(lost) < 8
    said = (
        f"{len(lost)} owners have no device, for all their samples are held out: {', '.join(lost)}"
    )
    assert said in own.source.notes
    assert min(sizes(own)) > 0


def test_no_owner_is_missed_where_the_user_divides(tmp_path):
    own = setup(owned(tmp_path / "a.csv", {"ann": 80, "rare": 1}), devices=4)
    assert not any("have no device" in note for note in own.source.notes)


def test_a_fleet_whose_devices_have_one_class_each_says_so(tmp_path):
    labels = np.repeat(np.arange(3), 40)
    owners = np.char.add("home-", (np.arange(120) // 20).astype(str))
    inputs = stream(0, "one").normal(size=(120, 6))
    np.savez(tmp_path / "one.npz", x_train=inputs, y_train=labels, group_train=owners)
    common = Common(data=str(tmp_path / "one.npz"), group="group_train", device_kinds=KINDS)
    said = partition(classifier_setup(common, None))
    assert "6 of 6 devices have one class alone" in said
    assert "`--aggregate geometric-median` may learn" in said
    mixed = np.char.add("home-", (np.arange(120) % 6).astype(str))
    np.savez(tmp_path / "mixed.npz", x_train=inputs, y_train=labels, group_train=mixed)
    common = Common(data=str(tmp_path / "mixed.npz"), group="group_train", device_kinds=KINDS)
    assert "one class" not in partition(classifier_setup(common, None))
