import sys

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.recipes.find import SHIPPED, recipe

OWN = """
from dataclasses import dataclass, replace

from distilfleet.recipes.flags import Common, CommonFlags
from distilfleet.recipes.koala import Flags as KoalaFlags, koala


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    '''A study of mine.'''

    common: CommonFlags = Common(devices=3, rounds=2)


def study(flags: Flags):
    return koala(KoalaFlags(common=flags.common))


def two(flags: Flags, more: int):
    return None
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my_study.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_found(name):
    assert recipe(name).name == name


def test_ones_own_is_found_and_builds_a_run(own):
    found = recipe(f"{own}:study")
    run = found.build(found.flags())
    assert run.rounds == 2
    assert len(run.devices) == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [("two", "one argument"), ("missing", "no function"), ("Common", "one argument")],
)
def test_what_is_no_recipe_is_named(name, told, own):
    with pytest.raises(ConfigError, match=told):
        recipe(f"{own}:{name}")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such file"):
        recipe(f"{tmp_path}/nowhere.py:study")


def test_a_file_that_is_no_python_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ConfigError, match="not a Python file"):
        recipe(f"{tmp_path}/notes.txt:study")


def test_a_file_with_a_mistake_in_it_is_named(tmp_path):
    (tmp_path / "broken_study.py").write_text("def study(:\n")
    with pytest.raises(ConfigError, match=r"broken_study\.py.*line 1"):
        recipe(f"{tmp_path}/broken_study.py:study")
    (tmp_path / "lacking_study.py").write_text("import no_such_thing\n")
    with pytest.raises(ConfigError, match=r"lacking_study\.py.*no_such_thing"):
        recipe(f"{tmp_path}/lacking_study.py:study")


@pytest.mark.parametrize("name", ["json", "msgspec", "chunk"])
def test_a_file_with_the_name_of_a_module_does_not_take_its_place(own, name):
    """A server lives longer than a run: others would get the recipe for the library."""
    before = sys.modules.get(name)
    file = own.rename(own.with_name(f"{name}.py"))
    assert recipe(f"{file}:study").flags.__doc__ == "A study of mine."
    assert sys.modules.get(name) is before
