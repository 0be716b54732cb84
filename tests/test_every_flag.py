"""Every flag of every recipe and verb is driven once through the command line, with a value that is
not its default.

The flags come from the dataclasses themselves: one that is added without a value here fails.
"""

import json
import tomllib
from dataclasses import MISSING, fields, is_dataclass, replace

import numpy as np
import pytest
import tomli_w

from cli_runs import mistaken, table, told
from distilfleet.cli.calibrate_flags import Calibrate
from distilfleet.cli.compare import Compare
from distilfleet.cli.main import Audit, Devices
from distilfleet.cli.predict import Predict
from distilfleet.cli.run import Resume
from distilfleet.cli.track_flags import Track
from distilfleet.cli.words import parsed
from distilfleet.core.chance import stream
from distilfleet.cost.catalogue import as_csv, device, entry
from distilfleet.recipes import koala
from distilfleet.recipes.find import SHIPPED, recipe
from distilfleet.recipes.flags import common, flatten, option, unflatten
from distilfleet.record.history import read_rounds
from distilfleet.service.agent_flags import AgentFlags
from distilfleet.service.ask import experiment_of, server_of
from distilfleet.service.fleet_file import fleet_folder
from distilfleet.service.partition import OF_TEXTS, SplitFlags
from distilfleet.service.server_flags import BackUp, EnrolFlags, RunsFlags, ServeFlags

TEXTS = ("splitkd", "central_kd", "fedavg_text", "koala_text")
TOGGLED = {
    "calibrate",
    "early_stop",
    "pipelined",
    "json",
    "own_models",
    "share_label_counts",
    "share_data",
}
TOGGLED |= {"recompute", "all", "follow", "any_range", "skip_unknown", "fit_pictures"}
VALUES = {
    "data": "{}/table.npz",
    "holdout": "0.3",
    "test": "{}/said.csv",
    "text": "said",
    "label": "kind",
    "group": "owner",
    "decimal": "point",
    "separator": "comma",
    "leave_out": "b",
    "missing": "drop",
    "sample_kind": "series",
    "channels_axis": "first",
    "window": "2",
    "hop": "0.1s",
    "time": "at",
    "rate_hz": "10.0",
    "devices": "3",
    "per_round": "2",
    "device_kinds": "my-board",
    "catalogue": "{}/boards.csv",
    "spare": "1",
    "minimum": "2",
    "rounds": "1",
    "alpha": "1.5",
    "skew": "quantity",
    "seed": "3",
    "threads": "2",
    "cohorts": "off",
    "checkpoint_every_s": "0.5",
    "server": "server-a100-80g",
    "channels": "good",
    "bandwidth_hz": "1e7",
    "keep_wire": "3",
    "keep_every": "2",
    "deadline_s": "500.0",
    "offline_share": "0.01",
    "label_counts_share": "0.5",
    "poison": "sign-flip",
    "poison_share": "0.4",
    "memory_quota_bytes": "100000000",
    "local_passes": "1",
    "local_batch": "8",
    "local_lr": "0.01",
    "local_momentum": "0.5",
    "local_weight_decay": "0.001",
    "small": "mlp-xs",
    "mode": "heterogeneous",
    "proxy": "{}/proxy.csv",
    "proxy_share": "0.2",
    "large": "mlp-s",
    "train": "head",
    "wire": "soft-labels",
    "refine": "mean",
    "aggregate": "mean",
    "temperature": "2.0",
    "reverse_passes": "1",
    "reverse_lr": "0.001",
    "pretrained": "yes",
    "head_lr": "0.01",
    "anchor": "0.5",
    "warm_passes": "1",
    "forward_passes": "2",
    "forward_lr": "0.01",
    "feature_weight": "0.2",
    "mixtures": "8",
    "ema": "0.5",
    "fusion_passes": "1",
    "fusion_lr": "0.01",
    "digest_passes": "1",
    "digest_lr": "0.01",
    "who": "small",
    "mu": "0.5",
    "teacher": "llama:64x1",
    "student": "llama:32x2",
    "tokenizer": "bytes",
    "windows": "whole",
    "context": "16",
    "vocabulary": "300",
    "pretrain_share": "0.5",
    "pretrain_steps": "2",
    "pretrain_lr": "0.01",
    "batch": "2",
    "steps": "2",
    "lr": "0.01",
    "kd_weight": "0.5",
    "test_windows": "8",
    "cut": "1",
    "smashed": "fp16",
    "objective": "deadline",
    "delay_budget_s": "100.0",
    "energy_budget_j": "1000.0",
    "price_s_per_j": "0.5",
    "privacy_floor": "1",
    "labels": "kept",
    "noise": "0.1",
    "lora": "2",
    "accelerator": "auto",
    "teacher_precision": "16",
    "micro_batches": "1",
    "teacher_cache": "hidden",
    "divergence": "reverse",
    "cluster": "2",
    "public": "16",
    "draws": "2",
    "kind": "tried",
    "out": "{}/out",
    "like": "rpi-5",
    "idle_w": "2.5",
    "busy_w": "5.5",
    "up_bps": "1e7",
    "down_bps": "2e7",
    "lasting_s": "0.2",
    "recipe": "splitkd",
    "fleet": "{}/fleet.toml",
    "hours": "3",
    "model": "{}/models/large",
    "file": "{}/table.npz",
    "tokens": "9",
    "what": "create",
    "device": "pi-07",
    "name": "koala-1",
    "to": "{}/copy",
    "resume": "{}/run",
    "token": "abc",
    "token_file": "{}/pi-07.token",
    "rename": "temp=temperature",
    "rename_class": "laufen=run",
    "rename_value": "place:loft=attic",
    "columns": "temp",
    "units": "temp=0.5556,-17.78",
    "state": "{}/state",
    "most_jobs": "7",
    "most_busy_s": "60.0",
    "most_job_s": "9.0",
    "most_bytes": "1000",
    "most_bytes_a_day": "2000",
    "from_hour": "8",
    "to_hour": "20",
    "runs": "{}/run",
    "run": "{}/run",
}
"""What each flag is given; where recipes differ, `OTHER` has a recipe's own."""
OTHER = {
    ("track", "to"): "mlflow",
    ("fedavg", "who"): "large",
    ("fedavg", "small"): "mlp-s",
    ("runs", "what"): "stop",
}
APART = {
    "koala": {"feature_weight"},
    "fedavg": {"small"},
    "central": {"large"},
    "splitkd": {"vocabulary"},
    **{name: {"vocabulary"} for name in TEXTS},
}
"""Flags that do not go with another one of the first run, so that the second one has them."""
OWNED = {"label", "group", "proxy", "decimal", "separator", "leave_out", "time"}
"""Flags of tables whose rows have an owner: of the second run as well."""
IN_THIRD = {"text", "test"}
"""Flags of texts, and of a test part that there is instead of a share: of the third run."""
OF_SERIES = ("window", "hop", "time", "rate_hz")
OF_NUMBERS = ("decimal", "separator", "leave_out", "sample_kind", "channels_axis", *OF_SERIES)
REFUSED = {
    **{(name, flag): flag for name in TEXTS for flag in ("alpha", "skew", "poison", *OF_NUMBERS)},
    **{(name, "poison_share"): "poison" for name in TEXTS},
    ("koala_text", "label"): "label",
}
"""Flags that a recipe has and does not take, and the one that its message names."""
VERBS = {
    "resume": Resume,
    "compare": Compare,
    "predict": Predict,
    "audit": Audit,
    "devices": Devices,
    "calibrate": Calibrate,
    "split": SplitFlags,
    "serve": ServeFlags,
    "enrol": EnrolFlags,
    "runs": RunsFlags,
    "backup": BackUp,
    "agent": AgentFlags,
    "track": Track,
}
DATA = {
    (False, "first"): "series.npz",
    (False, "second"): "owned.csv",
    (False, "third"): "said.jsonl",
    (True, "first"): "text.txt",
    (True, "second"): "owned.jsonl",
    (True, "third"): "said.jsonl",
}
"""By whether a recipe is one of texts, and which run it is."""
BARE = {
    "compare.runs",
    "predict.model",
    "predict.file",
    "audit.run",
    "track.run",
    "serve.fleet",
    "enrol.what",
    "runs.what",
    "runs.name",
    "backup.to",
    "split.data",
}
"""Words without a flag before them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small data of every kind that a value names."""
    made, rng = tmp_path_factory.mktemp("every"), stream(0, "every flag")
    table(made / "table.npz", count=120)
    labels = rng.integers(0, 3, 120)
    np.savez(made / "series.npz", x=rng.normal(size=(120, 2, 3)) + labels[:, None, None], y=labels)
    numbers = [f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(90, 2))]
    owned = [
        f"{pair},{'xyz'[k]},o{n % 3},{n}"
        for n, (pair, k) in enumerate(zip(numbers, rng.integers(0, 3, 90), strict=True))
    ]
    (made / "owned.csv").write_text("\n".join(["a,b,kind,owner,at", *owned, ""]))
    (made / "proxy.csv").write_text("\n".join(["a,b", *numbers[:30], ""]))
    (made / "text.txt").write_text("A quick fox jumps over a lazy dog, and runs away again. " * 400)
    days = [
        {"text": f"{'good' if n % 2 else 'bad'} day {n} " * 12, "kind": "ab"[n % 2]}
        for n in range(60)
    ]
    (made / "owned.jsonl").write_text(
        "".join(json.dumps({**d, "owner": f"o{n % 3}"}) + "\n" for n, d in enumerate(days))
    )
    said = [f"{'turn the light on' if n % 2 else 'play a song'}, number {n}" for n in range(600)]
    (made / "said.jsonl").write_text(
        "".join(json.dumps({"said": t, "kind": "ab"[n % 2]}) + "\n" for n, t in enumerate(said))
    )
    rows = [f'"{text} now",{"ab"[n % 2]}' for n, text in enumerate(said)]
    (made / "said.csv").write_text("\n".join(["said,kind", *rows, ""]))
    (made / "boards.csv").write_text(as_csv([replace(entry("rpi-5"), kind="my-board")]))
    return made


def leaves(kind):
    """Flag -> default of every flag, all levels in one; a word that must be given has none."""
    found = {}
    for field in fields(kind):
        given = field.default if field.default_factory is MISSING else field.default_factory()
        found |= set_in(given) if is_dataclass(given) else {field.name: given}
    return found


def set_in(flags):
    """Flag -> value, all levels in one."""
    found = {}
    for field in fields(flags):
        value = getattr(flags, field.name)
        found |= set_in(value) if is_dataclass(value) else {field.name: value}
    return found


def typed(owner, name, default, folder):
    """The words that give a flag a value which is not its default."""
    if name in TOGGLED:
        return [f"--no-{name.replace('_', '-')}" if default is True else option(name)]
    value = OTHER.get((owner, name), VALUES[name]).format(folder)
    return [value] if f"{owner}.{name}" in BARE else [option(name), value]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_flag_of_a_recipe_is_read_and_comes_back_from_the_record(name, folder):
    kind = recipe(name).flags
    every = leaves(kind)
    flags = parsed(
        kind,
        "run",
        [word for flag, usual in every.items() for word in typed(name, flag, usual, folder)],
    )
    flat = {"out": common(flags).out, **flatten(flags)}
    assert [flag for flag, usual in every.items() if flat.get(flag) in (usual, None)] == []
    written = tomllib.loads(tomli_w.dumps(flatten(flags)))
    assert flatten(unflatten(kind, written)) == flatten(flags)


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_of_a_verb_is_read(verb, folder):
    kind = VERBS[verb]
    every = leaves(kind)
    words = [word for flag, default in every.items() for word in typed(verb, flag, default, folder)]
    flags = parsed(kind, verb, words)
    given = set_in(flags)
    assert all(given[flag] != default for flag, default in every.items())


def first_run(name, every):
    """Flags that go together on data as they come."""
    return every.keys() - OWNED - IN_THIRD - APART.get(name, set()) - refused_by(name)


def second_run(name, every):
    """The others, on data that name their owners, and what keeps that run short."""
    rest = (every.keys() & (OWNED | APART.get(name, set()))) - refused_by(name)
    short = every.keys() & {
        "rounds",
        "out",
        "local_passes",
        "mixtures",
        "pretrain_steps",
        "steps",
        "batch",
        "context",
    }
    return rest | short | {"data"}


def third_run(name, every):
    """Those of texts and of a test part, on a table of texts, and what keeps that run short."""
    short = every.keys() & {"rounds", "out", "local_passes", "pretrain_steps", "steps", "batch"}
    return (short | {"data", "label", "test", "text"}) - refused_by(name)


def refused_by(name):
    return {flag for recipe_name, flag in REFUSED if recipe_name == name}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_flag_of_a_recipe_takes_part_in_a_run_or_is_refused(name):
    every = leaves(recipe(name).flags)
    runs = [run(name, every) for run in RUNS.values()]
    assert every.keys() == frozenset().union(*runs) | refused_by(name)


RUNS = {"first": first_run, "second": second_run, "third": third_run}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", SHIPPED)
def test_runs_with_every_flag_do_what_they_were_told(name, run, folder, tmp_path, capfd):
    found = recipe(name)
    every = leaves(found.flags)
    file = DATA[name in TEXTS, run]
    own = {"data": ["--data", f"{folder}/{file}"], "out": ["--out", str(tmp_path / "run")]}
    flags = sorted(RUNS[run](name, every))
    words = [
        word for flag in flags for word in own.get(flag) or typed(name, flag, every[flag], folder)
    ]
    said = told(capfd, "run", name, *words)
    assert said.code == 0, said.err
    about = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    asked = tomli_w.dumps(flatten(parsed(found.flags, "run", words)))
    assert about["settings"] == tomllib.loads(asked)
    assert about["rounds"] == len(read_rounds(tmp_path / "run")) == 1


@pytest.mark.parametrize(("name", "flag"), REFUSED, ids=map("-".join, REFUSED))
def test_a_flag_that_a_recipe_does_not_take_is_refused_in_words(
    name, flag, folder, tmp_path, capfd
):
    every = leaves(recipe(name).flags)
    data = folder / ("owned.jsonl" if flag == "label" else "text.txt")
    words = typed(name, flag, every[flag], folder)
    message = mistaken(capfd, "run", name, "--data", data, "--out", tmp_path / "run", *words)
    assert option(REFUSED[name, flag]) in message
    assert not (tmp_path / "run").exists()


MOOT = {
    "a band without cells": ("koala", ["--bandwidth-hz", "1e7"], "--channels"),
    "a share of liars without a lie": ("fedavg", ["--poison-share", "0.4"], "--poison"),
    "a share of a proxy set that is given": (
        "feddf",
        ["--proxy", "{}/proxy.csv", "--proxy-share", "0.2"],
        "--proxy",
    ),
    "layers matched without weights": (
        "koala",
        ["--wire", "soft-labels", "--feature-weight", "0.2"],
        "--wire",
    ),
    "a small model that nobody trains": ("central", ["--small", "mlp-xs"], "--who"),
    "a large model that nobody trains": (
        "central",
        ["--who", "small", "--large", "mlp-s"],
        "--who",
    ),
    "a delay that nothing keeps": ("splitkd", ["--delay-budget-s", "9.0"], "--objective"),
    "entries of a tokenizer that is given": (
        "splitkd",
        ["--tokenizer", "bytes", "--vocabulary", "300"],
        "--tokenizer",
    ),
    "owners and a skew": ("koala", ["--group", "owner", "--skew", "quantity"], "--skew"),
}


@pytest.mark.parametrize(("name", "words", "named"), MOOT.values(), ids=MOOT)
def test_a_flag_that_would_change_nothing_is_refused_with_the_one_it_needs(
    name, words, named, folder, tmp_path, capfd
):
    file = folder / ("text.txt" if name in TEXTS else "owned.csv")
    label = [] if name in TEXTS else ["--label", "kind"]
    out = tmp_path / "run"
    words = [word.format(folder) for word in words]
    message = mistaken(capfd, "run", name, "--data", file, *label, "--out", out, *words)
    assert named in message
    assert not out.exists()


def test_flags_of_a_simulation_are_refused_on_a_real_fleet(folder, capfd):
    words = ["--channels", "good", "--alpha", "0.1"]
    message = mistaken(capfd, "run", "koala", "--fleet", folder / "fleet.toml", *words)
    assert "--alpha" in message
    assert "--channels" in message
    assert "leave them out with --fleet" in message


def test_kinds_of_own_boards_on_a_real_fleet_are_in_its_fleet_file(folder, tmp_path, capfd):
    words = ["--catalogue", folder / "boards.csv"]
    message = mistaken(capfd, "run", "koala", "--fleet", folder / "fleet.toml", *words)
    assert "write catalogue = 'FILE' there" in message
    file = tmp_path / "fleet.toml"
    file.write_text(
        "address = 'a:1'\nenrol_address = 'a:2'\nserver = 'my-board'\n[devices]\npi = 'my-board'\n"
    )
    assert "catalogue = 'boards.csv'" in mistaken(capfd, "runs", "--fleet", file)
    (tmp_path / "boards.csv").write_bytes((folder / "boards.csv").read_bytes())
    file.write_text(f"catalogue = 'boards.csv'\n{file.read_text()}")
    assert told(capfd, "runs", "--fleet", file).code == 0
    here = fleet_folder(file)
    assert here.devices["pi"] == device("my-board", "pi", extra=folder / "boards.csv")
    run = experiment_of(here, {"recipe": "koala", "settings": flatten(koala.Flags())})
    assert [one.kind for one in run.devices.values()] == ["my-board"]
    assert server_of(here).kind == "my-board"


def test_own_boards_are_listed(folder, capfd):
    said = told(capfd, "devices", "--catalogue", folder / "boards.csv", "--json")
    assert said.code == 0
    assert "my-board" in said.out


@pytest.mark.parametrize("recipe_of_text", [False, True], ids=["table", "text"])
def test_a_partition_is_written_with_every_flag(recipe_of_text, folder, tmp_path, capfd):
    every = leaves(SplitFlags)
    apart = {"vocabulary", "alpha", "proxy_share"} if recipe_of_text else {"recipe", *OF_TEXTS}
    apart |= {*OF_NUMBERS, *IN_THIRD}
    given = every.keys() - {"data", "out", "label", "group"} - apart
    words = [word for flag in sorted(given) for word in typed("split", flag, every[flag], folder)]
    data = folder / ("text.txt" if recipe_of_text else "table.npz")
    said = told(capfd, "split", data, *words, "--out", tmp_path / "parts")
    assert said.code == 0, said.err
    assert len(list((tmp_path / "parts").glob("device-*.npz"))) == 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--context", "16"], "--recipe"),
        (["--recipe", "splitkd", "--proxy-share", "0.2"], "tables"),
    ],
)
def test_a_partition_refuses_flags_of_other_data(words, named, folder, tmp_path, capfd):
    assert named in mistaken(
        capfd, "split", folder / "table.npz", *words, "--out", tmp_path / "parts"
    )
    assert not (tmp_path / "parts").exists()


def test_a_plan_needs_no_more_text_than_there_is(folder, capfd):
    """It asks for rates, boards and models of each device, not for everybody's data."""
    words = [
        "--data",
        folder / "text.txt",
        "--devices",
        5000,
        "--tokenizer",
        "bytes",
        "--student",
        "llama:32x1",
    ]
    said = told(capfd, "plan", "splitkd", *words, "--json")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert len({one["id"] for one in plan["devices"]}) == 5000
    assert sum(one["uplink_share"] for one in plan["devices"]) > 0
    assert any("as many distinct tokens" in note for note in plan["notes"])


def test_a_plan_names_the_devices_that_it_leaves_out(folder, capfd):
    words = [
        "--data",
        folder / "text.txt",
        "--devices",
        40,
        "--channels",
        "street",
        "--tokenizer",
        "bytes",
    ]
    plan = json.loads(told(capfd, "plan", "splitkd", *words, "--json").out)
    planned = {one["id"] for one in plan["devices"]}
    assert plan["unreachable"]
    assert len(planned) + len(plan["unreachable"]) == 40
    assert not planned & set(plan["unreachable"])
    table = told(capfd, "plan", "splitkd", *words).out
    assert (
        f"left out   {len(plan['unreachable'])} devices cannot be reached in this round: " in table
    )
    assert plan["unreachable"][0] in table


@pytest.mark.parametrize(
    "words", [["--small", "mlp-xs", "--small", "mlp-s"], ["--small=mlp-xs", "--small", "mlp-s"]]
)
def test_a_list_that_comes_twice_is_refused_and_one_value_may_be_said_anew(
    words, folder, tmp_path, capfd
):
    message = mistaken(
        capfd, "run", "koala", "--data", folder / "table.npz", "--out", tmp_path / "run", *words
    )
    assert "--small is given twice: give it once, with all its values behind it" in message
    assert parsed(AgentFlags, "agent", ["--data", "a", "--data", "b"]).data == "b"


@pytest.mark.parametrize("flag", ["--teacher", "--student", "--tokenizer"])
def test_a_name_that_is_nowhere_is_told_at_once_in_one_sentence(
    flag, folder, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens: no hub
    words = ["--data", folder / "text.txt", "--out", tmp_path / "run", flag, "someone/nothing"]
    message = mistaken(capfd, "run", "splitkd", *words)
    assert f"{flag} someone/nothing: there is no such folder or file" in message
    assert "cache" in message
    assert "hub cannot be reached from here" in message
