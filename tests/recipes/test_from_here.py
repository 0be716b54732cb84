"""A run handed to a server names its files so that the server, in another folder, finds the
same."""

import pytest

from distilfleet.service.from_here import from_here, placed


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    for name in ("parts/server.npz", "nets.py", "hub"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_and_folders_get_their_whole_path(here):
    settings = {
        "data": "parts/server.npz",
        "teacher": "parts",
        "small": ["rpi-5=nets.py:net", "mlp-s"],
    }
    wanted = {
        "data": f"{here}/parts/server.npz",
        "teacher": f"{here}/parts",
        "small": [f"rpi-5={here}/nets.py:net", "mlp-s"],
    }
    assert from_here(settings) == wanted


@pytest.mark.parametrize(
    "name", ["digits", "hub:org/set", "llama:64x1", "nets:net", "mlp-s", "other.py:net", "", "/a/b"]
)
def test_what_is_no_file_here_stays(here, name):
    assert placed(name) == name


def test_a_recipe_in_a_file_and_settings_that_name_no_file(here):
    assert placed("nets.py:mine") == f"{here}/nets.py:mine"
    assert from_here({"wire": "parts", "rounds": 2}) == {"wire": "parts", "rounds": 2}


def test_the_home_folder(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir("/")
    assert placed("~/parts") == f"{here}/parts"
