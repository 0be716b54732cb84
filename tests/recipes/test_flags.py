from dataclasses import dataclass, fields
from math import inf, nan
from pathlib import Path

import pytest
import tomli_w

from distilfleet.cli.words import parsed
from distilfleet.core.errors import ConfigError
from distilfleet.recipes import find
from distilfleet.recipes.flags import (
    RENAMED,
    Common,
    CommonFlags,
    Smalls,
    check,
    common,
    flatten,
    option,
    unflatten,
)

SHIPPED = {name: find.recipe(name).flags for name in find.SHIPPED}


@pytest.mark.parametrize("kind", SHIPPED.values(), ids=SHIPPED)
def test_flags_survive_the_record(kind):
    """Flat in run.toml, nested in the program; unset flags are left out."""
    flags = kind()
    flat = flatten(flags)
    assert tomli_w.dumps(flat)
    assert "out" not in flat
    assert None not in flat.values()
    assert unflatten(kind, flat) == flags


def test_what_was_set_comes_back():
    kind = SHIPPED["koala"]
    flags = kind(
        common=Common(data="x.npz", alpha=inf, device_kinds=("rpi-5",), per_round=3),
        smalls=Smalls(small=("mlp-xs", "rpi-5=mlp-s"), mode="heterogeneous"),
        wire="soft-labels",
        early_stop=True,
    )
    assert unflatten(kind, flatten(flags)) == flags
    assert common(flags).per_round == 3


@pytest.mark.parametrize("kind", SHIPPED.values(), ids=SHIPPED)
def test_no_two_levels_share_a_flag(kind):
    names = [name for field in fields(kind) for name in _names(field, kind)]
    assert len(set(names)) == len(names)


def _names(field, kind):
    value = getattr(kind(), field.name)
    if not hasattr(value, "__dataclass_fields__"):
        return [field.name]
    return [name for inner in fields(value) for name in _names(inner, type(value))]


def test_the_directory_is_not_a_setting():
    assert "out" not in flatten(SHIPPED["koala"](common=Common(out=Path("runs/x"))))


@pytest.mark.parametrize(
    ("change", "told"),
    [({"rounds": "many"}, "rounds"), ({"mode": "sideways"}, "mode"), ({"alpha": [1]}, "alpha")],
)
def test_settings_of_the_wrong_kind_are_named(change, told):
    kind = SHIPPED["koala"]
    with pytest.raises(ConfigError, match=told):
        unflatten(kind, {**flatten(kind()), **change})


@pytest.mark.parametrize("kind", SHIPPED.values(), ids=SHIPPED)
def test_defaults_are_in_range(kind):
    check(kind())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("devices", 0),
        ("offline_share", 1.1),
        ("offline_share", nan),
        ("alpha", nan),
        ("deadline_s", 0.0),
        ("seed", -1),
    ],
)
def test_a_number_out_of_its_range_is_named(name, value):
    flags = SHIPPED["fedmd"](common=Common(**{name: value}))
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is {value}; it must be"):
        check(flags)


@pytest.mark.parametrize("mu", [-0.1, nan])
def test_a_proximal_term_does_not_push_away(mu):
    with pytest.raises(ConfigError, match=f"--mu is {mu}; it must be at least 0"):
        check(SHIPPED["fedprox"](mu=mu))


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", inf), ("offline_share", 1.0), ("spare", 0), ("seed", 0)]
)
def test_the_ends_of_a_range_are_in_it(name, value):
    check(SHIPPED["koala"](common=Common(**{name: value})))


def test_flags_of_ones_own_are_checked_where_they_have_the_same_name():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Own:
        common: CommonFlags = Common()
        warm_up_lr: float = 0.0
        colour: str = "red"

    with pytest.raises(ConfigError, match=r"--warm-up-lr is 0.0; it must be above 0"):
        check(Own())


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A recipe of somebody's own may call its flags as it likes."""

    late: int = 0
    """Seconds that it may be late, and the source of this
    --sentence has two lines."""


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
@pytest.mark.parametrize("written", ["{}", "{}=1", "{}_"], ids=["apart", "joined", "underscores"])
def test_a_flag_by_the_name_that_it_had_is_refused_with_its_new_one(written, old, new):
    word = f"--{old}" if written.endswith("_") else written.format(option(old))
    with pytest.raises(ConfigError, match=f"{word.partition('=')[0]} is called {option(new)} now"):
        parsed(SHIPPED["splitkd"], "splitkd", [word, "1"])


def test_the_other_side_of_a_renamed_switch_is_refused_too():
    with pytest.raises(ConfigError, match="--no-late is called --pipelined now"):
        parsed(SHIPPED["splitkd"], "splitkd", ["--no-late"])


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_record_with_a_name_of_before_is_refused_with_its_new_one(old, new):
    with pytest.raises(
        ConfigError, match=f"name {old}, which is called {new} now: rename it in its run.toml"
    ):
        unflatten(SHIPPED["splitkd"], {old: 1})


def test_ones_own_flag_may_have_a_name_that_was_given_up():
    assert parsed(Own, "own", ["--late", "3"]) == unflatten(Own, {"late": 3}) == Own(late=3)


def test_the_help_of_a_flag_is_a_paragraph_wherever_its_source_ends_a_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        parsed(Own, "own", ["--help"])
    assert "the source of this --sentence has two lines. (default: 0)" in capsys.readouterr().out
