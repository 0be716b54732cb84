"""What the documentation claims: its code runs, its links lead somewhere, its flags exist."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import contract
from cli_runs import told
from distilfleet import methods
from distilfleet.recipes.find import SHIPPED, recipe
from distilfleet.recipes.flags import flatten
from distilfleet.record.history import read
from test_house import banned, without_unit

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
CHECKS = {name: check for name, check in inspect.getmembers(contract) if name.startswith("check_")}
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?P<target>[^)#\s]+)")
RUN = re.compile(r"distilfleet (?:run|plan) (?P<words>.+)")
NUMBER = re.compile(r"\d[\d.,]*(?:e-\d+)?")
UNIT = re.compile(r"(?<=0 )(?:[kMG]?B|[km]?J|[mµ]?s)\b")
MEASURED = ROOT / "benchmarks" / "RESULTS.md"
"""Written from measurements, which a checkout may not have yet."""


def block(name):
    """The code block that a `<!-- test: name -->` marks in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = FENCE.search(text.split(f"<!-- test: {name} -->")[1])
    assert found
    return found["code"]


def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


# --- the method and the recipe of CONTRIBUTING.md -------------------------------------------------


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    path = tmp_path_factory.mktemp("method") / "documented_vote.py"
    path.write_text(block("method"), encoding="utf-8")
    yield imported(path)
    del sys.modules[path.stem]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_documented_method_keeps_the_contract(method, check, tmp_path):
    case = contract.Case(make=method.tiny)
    check(case, tmp_path) if "folder" in inspect.signature(check).parameters else check(case)


def test_the_documented_method_keeps_the_house_rules(tmp_path):
    assert without_unit(block("method")) == []
    assert banned(block("method")) == []
    path = tmp_path / "vote.py"
    for name in ("method", "recipe"):
        path.write_text(block(name), encoding="utf-8")
        ignored = "F821" if name == "recipe" else "E999"
        rules = ["--config", str(ROOT / "pyproject.toml"), "--ignore", ignored, "--no-cache"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", *rules, path], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_the_documented_recipe_trains_from_the_command_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vote.py").write_text(block("method") + "\n\n" + block("recipe"), encoding="utf-8")
    words = [
        "run",
        "vote.py:vote",
        "--rounds",
        "2",
        "--local-passes",
        "1",
        "--small",
        "conv-xs",
        "--out",
        "runs/vote",
    ]
    assert told(capfd, *words).code == 0
    run = read(tmp_path / "runs" / "vote")
    assert len(run.rounds) == 2
    assert 16 * run.rounds[-1]["up_bytes"] < run.rounds[-1]["down_bytes"]
    assert (tmp_path / "runs" / "vote" / "report.html").is_file()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = (
        fence["code"]
        for fence in FENCE.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
        if fence["kind"] == "python"
    )
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    imported(tmp_path / "readme.py")
    first = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert first == ["large_accuracy", "round", "1", "2"]
    assert (tmp_path / "learning.png").stat().st_size > 1000


# --- the tutorial ---------------------------------------------------------------------------------

TUTORIAL = ROOT / "docs" / "distil-your-assistant.md"
SMALLER = {
    "splitkd": ["--rounds", "2", "--steps", "2", "--pretrain-steps", "5"],
    "koala": ["--rounds", "2", "--local-passes", "1", "--mixtures", "8"],
    "koala_text": ["--rounds", "1", "--steps", "2", "--pretrain-steps", "5", "--public", "8"],
}
SHORT_TEXT = ["--data", str(ROOT / "docs"), "--devices", "2", "--context", "32"]
"""Instead of two megabytes of Python."""


def commands(code):
    """The words of each command of a block, as a shell would split them."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def smaller(verb, *words):
    if verb not in ("run", "plan"):
        return [verb, *words]
    extra = [] if "--data" in words else SHORT_TEXT
    if verb == "plan":  # what is planned for stays as it is
        extra = extra[:2]
    return [verb, *words, *(SMALLER[words[0]] if verb == "run" else []), *extra]


def shape(line):
    """A line of output without its figures."""
    return " ".join(UNIT.sub("u", NUMBER.sub("0", " ".join(line.split()))).split())


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    said, ran = set(), 0
    for number, fence in enumerate(FENCE.finditer(TUTORIAL.read_text(encoding="utf-8"))):
        if fence["kind"] == "python":
            path = tmp_path / f"tutorial_{number}.py"
            path.write_text(fence["code"], encoding="utf-8")
            imported(path)
        elif fence["kind"] == "sh":
            outcomes = [told(capfd, *smaller(*words[1:])) for words in commands(fence["code"])]
            assert [one.code for one in outcomes] == [0] * len(outcomes), outcomes
            said, ran = (
                {shape(line) for one in outcomes for line in one.out.splitlines()},
                ran + len(outcomes),
            )
        else:
            assert {shape(line) for line in fence["code"].splitlines()} - said == set()
    assert ran >= 9


def test_a_planted_line_of_output_has_another_shape():
    real = (
        "round 5/5 large 98.33% small 98.75% up 612 kB down 586 kB energy 5.56 J clock 0.578 s "
        "answered 12/12"
    )
    assert shape(real) == shape(
        real.replace("612 kB", "1.2 MB").replace("5/5", "10/10").replace("J", "mJ")
    )
    assert shape(real) != shape(real.replace("small", "tiny"))
    assert smaller("audit", "runs/x") == ["audit", "runs/x"]
    assert commands("distilfleet run a \\\n    --b 'c d'  # why\n") == [
        ["distilfleet", "run", "a", "--b", "c d"]
    ]


# --- every page -----------------------------------------------------------------------------------


def broken_links(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [match["target"] for match in LINK.finditer(text)]
    places = {target: (page.parent / target).resolve() for target in targets}
    return [target for target, place in places.items() if not place.exists() and place != MEASURED]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_planted_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "[a](page.md) [b](https://example.com) [c](#here) [d](gone.md#there)\n", encoding="utf-8"
    )
    assert broken_links(page) == ["gone.md"]


def documented_runs():
    for page in PAGES:
        for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
            if fence["kind"] == "sh":
                joined = fence["code"].replace("\\\n", " ")
                yield from (match["words"].split("  #")[0] for match in RUN.finditer(joined))


def unknown_flags(words):
    """Flags of a documented command that its recipe does not have."""
    first, *rest = shlex.split(words)
    given = {word.partition("=")[0] for word in [first, *rest] if word.startswith("--")}
    if first.startswith("--resume"):
        return given - {"--resume", "--rounds"}
    if first not in SHIPPED:
        return set()
    known = {*_names(recipe(first).flags), "help", "out", "seeds"}
    flags = {f"--{name.replace('_', '-')}" for name in known}
    return {
        flag for flag in given if flag not in flags and flag.replace("--no-", "--") not in flags
    }


def _names(kind):
    hints = inspect.get_annotations(kind, eval_str=False)
    default = kind()
    unset = [name for name in hints if getattr(default, name) is None]
    nested = [
        _names(type(getattr(default, name)))
        for name in hints
        if hasattr(getattr(default, name), "__slots__")
    ]
    return {*flatten(default), *unset, *(name for names in nested for name in names)}


def test_documented_flags_exist():
    runs = sorted(set(documented_runs()))
    assert len(runs) >= 8
    assert {words: unknown for words in runs if (unknown := unknown_flags(words))} == {}


def test_a_planted_unknown_flag_is_found():
    assert unknown_flags("koala --data x.npz --no-calibrate --sead 3 --out runs/x") == {"--sead"}
    assert unknown_flags("--resume runs/x --rounds 3 --seed 1") == {"--seed"}


def test_the_readme_names_every_method():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in pkgutil.iter_modules(methods.__path__):
        assert f"`{module.name}`" in text
        half = ".server" if module.ispkg else ""  # the package itself is an empty file
        assert inspect.getdoc(importlib.import_module(f"distilfleet.methods.{module.name}{half}"))


def test_design_pages_are_short_and_listed():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert len(pages) >= 9
    for page in pages:
        most = 190 if page == TUTORIAL else 125
        assert len(page.read_text(encoding="utf-8").splitlines()) <= most, page
        assert page.name == "index.md" or page.relative_to(ROOT / "docs").as_posix() in index


# --- names of modules -----------------------------------------------------------------------------

PACKAGE = ROOT / "src" / "distilfleet"
ROOMS = "|".join(
    sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
)
NAMED = re.compile(rf"`((?:{ROOMS})\.(?!py`|json`)[a-z_]+(?:\.[A-Za-z_]+)*)`")


def gone(text):
    """What a text calls by the name of its room and module that is not there: `core.types.Device`
    is."""
    return [name for name in NAMED.findall(text) if not stands_in_the_package(name)]


def stands_in_the_package(name):
    parts = name.split(".")
    if PACKAGE.joinpath(*parts).is_dir():
        return True
    for depth in range(len(parts), 1, -1):
        module = PACKAGE.joinpath(*parts[:depth]).with_suffix(".py")
        if module.exists():
            rest = parts[depth : depth + 1]
            return all(
                re.search(rf"\b{word}\b", module.read_text(encoding="utf-8")) for word in rest
            )
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_modules_that_a_page_names_are_there(page):
    assert gone(page.read_text(encoding="utf-8")) == []


def test_modules_that_docstrings_name_are_there():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert [name for path in sources for name in gone(path.read_text(encoding="utf-8"))] == []


def test_names_of_what_has_moved_are_found():
    assert gone("see `net.desk`, `core.types.Seat`, `cost.tcp.Tcp`") == [
        "net.desk",
        "core.types.Seat",
        "cost.tcp.Tcp",
    ]
    assert (
        gone(
            "see `net.coordinator`, `core.types.Device.kind`, `methods.splitkd`, `nn.Module` and "
            "`plan.json`"
        )
        == []
    )
