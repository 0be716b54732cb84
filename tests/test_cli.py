"""The command line: what it takes, what it says, and that a mistake ends with one message and harms
nothing."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from cli_runs import FEW, child, mistaken, table, told
from distilfleet.core.chance import stream
from distilfleet.core.disk import REMEDY
from distilfleet.recipes.find import SHIPPED

RECIPES = ("koala", "local", "central", "fedavg", "fedprox", "scaffold", "feddf", "fedmd")
MODES = ("homogeneous", "heterogeneous")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "table.npz")


@pytest.fixture(scope="module")
def koala(data):
    """The words of a short run: koala(path, *more); a --small of `more` stands in for that of
    FEW."""
    return lambda path, *more: (
        "run",
        "koala",
        "--data",
        data,
        *(FEW[:2] + FEW[4:] if "--small" in more else FEW),
        "--large",
        "mlp-l",
        "--rounds",
        2,
        "--out",
        path,
        *more,
    )


@pytest.fixture(scope="module")
def done(koala, tmp_path_factory):
    """A finished run, for reading alone."""
    path = tmp_path_factory.mktemp("done") / "run"
    process = child(*koala(path))
    out, err = process.communicate()
    assert process.returncode == 0, err
    return path, out


@pytest.fixture
def run(koala, tmp_path, capfd):
    """A finished run to spoil."""
    path = tmp_path / "run"
    assert told(capfd, *koala(path)).code == 0
    return path


def content(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- help, and how it begins ----------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["run"], ["run", "--help"]])
def test_usage(words, capfd):
    said = told(capfd, *words)
    assert said.code == 0
    assert "distilfleet run RECIPE" in said.out
    assert all(verb in said.out for verb in ("compare", "devices", "--resume"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_lists_its_flags(recipe, capfd):
    said = told(capfd, "run", recipe, "--help")
    assert said.code == 0
    assert all(flag in said.out for flag in ("--data", "--devices", "--rounds", "--seed", "--out"))


@pytest.mark.parametrize("verb", ["compare", "devices"])
def test_every_verb_has_help(verb, capfd):
    said = told(capfd, verb, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_the_version_is_a_number(capfd):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", told(capfd, "--version").out)


def processor_s():
    """Of all processes that this one has begun and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_loads_nothing_heavy_and_is_quick():
    script = (
        "import sys\nfrom distilfleet.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(*({'torch', 'tyro', 'numpy', 'rich'} & "
        "set(sys.modules)))"
    )
    before_s = processor_s()
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == ""
    # of its own, whoever else has the cores; 0.1 s where nobody has
    assert processor_s() - before_s < 1.0


def test_help_on_any_recipe_or_verb_loads_nothing_that_trains_or_talks():
    """Flags need neither arrays nor sockets: with torch, help took two to four seconds of processor
    time, with NumPy half a one."""
    verbs = (
        "agent",
        "serve",
        "enrol",
        "runs",
        "split",
        "backup",
        "calibrate",
        "compare",
        "audit",
        "devices",
        "plan",
    )
    asked = [
        *(("run", name) for name in SHIPPED),
        *(("plan", name) for name in SHIPPED),
        *((verb,) for verb in verbs),
    ]
    script = (
        "import sys\n"
        "from distilfleet.cli.main import main\n"
        f"for words in {asked!r}:\n"
        "  try: main([*words, '--help'])\n"
        "  except SystemExit as done: assert not done.code, words\n"
        "print(*({'torch', 'transformers', 'tokenizers', 'sklearn', 'scipy', 'grpc', 'PIL', "
        "'numpy', 'msgspec', 'rich','distilfleet.core.types'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    "words",
    [["--fleet"], ["--fleet="], ["--fleet", "--rounds", "2"], ["--fleet", "a", "--fleet=b"]],
)
def test_a_fleet_flag_without_its_file_is_told(words, capfd):
    assert "give --fleet once, with the fleet file behind it" in mistaken(
        capfd, "run", "koala", *words
    )


@pytest.mark.parametrize(
    "words", [["--fleet", "none.toml"], ["--fleet=none.toml"], ["--rounds=2", "--fleet=none.toml"]]
)
def test_a_fleet_file_is_named_in_either_way(words, capfd):
    assert "the fleet file none.toml cannot be read" in mistaken(capfd, "run", "koala", *words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["run", "koala", "--large", "conv-xxl"], "conv-xl"),
        (["run", "koala", "--data", "digitz"], "digits"),
        (["run", "--resum", "x"], "--resume"),
    ],
)
def test_a_mistyped_name_is_answered_with_what_was_meant(words, meant, capfd):
    assert f"did you mean {meant}" in mistaken(capfd, *words)


# --- what comes out -------------------------------------------------------------------------------


def test_piped_output_is_plain_lines(done):
    out = done[1]
    assert "\x1b" not in out
    assert "\r" not in out
    assert next(line for line in out.splitlines() if line.startswith("round ")).startswith(
        "round 1/2 large "
    )


@pytest.mark.parametrize(
    ("flags", "why", "recorded"),
    [
        (
            ["--poison", "nan", "--poison-share", 1],
            "round 1 cannot be had: 4 of 4 devices .*: rejected: .* NaN",
            0,
        ),
        (
            ["--poison", "nan", "--poison-share", 0.5, "--minimum", 3],
            "needs 3 of its 4 devices.*: rejected",
            0,
        ),
        (["--offline-share", 1], "no device answered in any of 2 rounds, .*device-3: offline", 1),
    ],
)
def test_a_run_that_nobody_answers_fails_with_the_reason(
    flags, why, recorded, koala, tmp_path, capfd
):
    out = tmp_path / "run"
    for words in (koala(out, *flags), ["run", "--resume", out]):
        said = told(capfd, *words)
        assert said.code == 1
        assert re.search(f"^distilfleet: .*{why}", said.err)
        assert "fault of ours" not in said.err
        assert len((out / "metrics.jsonl").read_text().splitlines()) == recorded
    assert told(capfd, "compare", out, "--out", tmp_path / "page.html").code == 0


def test_a_run_leaves_its_record(done):
    path = done[0]
    names = {file.name for file in path.iterdir()}
    assert {
        "run.toml",
        "fleet.json",
        "metrics.jsonl",
        "checkpoints",
        "models",
        "report.html",
    } <= names
    about = tomllib.loads((path / "run.toml").read_text())
    assert about["recipe"] == "koala"
    assert about["settings"]["devices"] == 4
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    promised = {
        "large_accuracy",
        "small_accuracy",
        "up_bytes",
        "down_bytes",
        "device_energy_j",
        "server_energy_j",
    }
    assert promised | {"elapsed_s", "devices", "missed"} <= lines[0].keys()
    assert [json.loads(line).keys() for line in (path / "wall.jsonl").read_text().splitlines()] == [
        {"round", "wall_s"}
    ] * 2
    assert None not in lines[0].values()


def test_devices_as_json(capfd):
    said = told(capfd, "devices", "--json")
    listed = json.loads(said.out)
    assert said.code == 0
    assert listed["schema"] == 1
    assert "rpi-5" in said.out


def test_devices_as_a_table(capfd):
    said = told(capfd, "devices")
    assert said.code == 0
    assert "rpi-5" in said.out


def test_compare_as_json(done, tmp_path, capfd):
    said = told(capfd, "compare", done[0], done[0], "--json", "--out", tmp_path / "page.html")
    assert said.code == 0
    assert json.loads(said.out)["schema"] == 1
    assert (tmp_path / "page.html").exists()


def test_compare_never_writes_over_a_page(done, tmp_path, capfd):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert "page.html is there already" in mistaken(capfd, "compare", done[0], "--out", page)
    assert page.read_text() == "mine"
    first, second = (
        told(capfd, "compare", done[0], done[0]).out.splitlines()[-1] for _ in range(2)
    )
    assert first != second
    assert second == first.replace("compare.html", "compare-2.html")


def test_a_reader_that_leaves_is_no_fault(done, tmp_path):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distilfleet.cli",
            "compare",
            str(done[0]),
            "--out",
            str(tmp_path / "page.html"),
        ],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


# --- mistakes -------------------------------------------------------------------------------------


def spoilt(folder):
    """Bad files by name."""
    (folder / "unlabelled.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "nan.csv").write_text("a,b,label\n1,2,x\nnan,4,y\n5,6,x\n7,8,y\n")
    rng = stream(0, "spoilt")
    np.savez(
        folder / "nan.npz", x=np.where(np.eye(20, 6) > 0, np.nan, 1.0), y=rng.integers(0, 2, 20)
    )
    np.savez(folder / "other-shape.npz", x=rng.normal(size=(9, 5)))
    return folder


MISTAKES = {
    "a file that is not there": (["--data", "{}/missing.npz"], ["missing.npz", "no such file"]),
    "a name that is not there": (["--data", "mnits"], ["'mnits'", "digits"]),
    "a table without its label": (
        ["--data", "{}/unlabelled.csv"],
        ["unlabelled.csv", "--label", "a, b"],
    ),
    "a NaN in a table": (["--data", "{}/nan.csv"], ["nan.csv", "line 3", "'a'", "finite"]),
    "a NaN in an array": (["--data", "{}/nan.npz"], ["nan.npz", "finite"]),
    "a proxy set of another shape": (
        ["--proxy", "{}/other-shape.npz"],
        ["other-shape.npz", "(5,)", "(6,)"],
    ),
    "an unknown kind of device": (["--device-kinds", "rpi-9"], ["'rpi-9'", "rpi-5", "catalogue"]),
    "an unknown kind of server": (["--server", "mainframe"], ["'mainframe'", "server-a100-80g"]),
    "a model that no device can hold": (
        ["--memory-quota-bytes", "2000"],
        ["rpi", "mlp-xs", "bytes", "--small"],
    ),
    "an unknown small model": (["--small", "resnet-9000"], ["'resnet-9000'", "mlp-xs"]),
    "an unknown large model": (["--large", "resnet-9000"], ["'resnet-9000'", "mlp-xl"]),
    "a model for other data": (["--large", "conv-xl"], ["conv-xl", "(6,)", "mlp-xl"]),
    "a model of nobody's": (
        ["--large", "no.such.module:net"],
        ["no.such.module", "path/to/file.py:function"],
    ),
    "two models for one": (["--small", "mlp-xs", "mlp-s"], ["mlp-xs, mlp-s", "heterogeneous"]),
    "a kind that the fleet lacks": (["--small", "jetson-tx2=mlp-s"], ["jetson-tx2", "rpi-4b"]),
    "more devices than samples": (["--devices", "80"], ["80 devices", "choose fewer"]),
    "an unknown owner column": (["--group", "owner"], ["owner", "--group"]),
    **{
        f"{flag} {value}": ([flag, value], [flag, value, "must be"])
        for flag, value in [
            ("--devices", "0"),
            ("--rounds", "0"),
            ("--per-round", "0"),
            ("--minimum", "0"),
            ("--threads", "0"),
            ("--local-batch", "0"),
            ("--local-passes", "0"),
            ("--local-lr", "nan"),
            ("--reverse-passes", "-1"),
            ("--reverse-lr", "0.0"),
            ("--spare", "-1"),
            ("--seed", "-1"),
            ("--mixtures", "-1"),
            ("--temperature", "0.0"),
            ("--deadline-s", "-1.0"),
            ("--alpha", "0.0"),
            ("--ema", "1.5"),
            ("--offline-share", "nan"),
            ("--memory-quota-bytes", "0"),
        ]
    },
    "no share for testing": (["--holdout", "1.0"], ["holdout", "between 0 and 1"]),
    "no share for the proxy set": (["--proxy-share", "0.0"], ["proxy share", "0.1"]),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return spoilt(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize(("flags", "told_of"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_remedy(flags, told_of, bad, koala, tmp_path, capfd):
    message = mistaken(capfd, *koala(tmp_path / "run", *(flag.format(bad) for flag in flags)))
    assert all(part in message for part in told_of), message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told_of"),
    [
        (["nope"], ["'nope'", "run, plan, compare"]),
        (["rnu", "koala"], ["'rnu'", "did you mean run"]),
        (["comparee"], ["did you mean compare?"]),
        (["run", "koalla"], ["'koalla'", "did you mean koala"]),
        (["run", "split-kd"], ["did you mean splitkd"]),
        (["plan", "FedAvg"], ["did you mean fedavg"]),
        (["run", "nope"], ["'nope'", "koala", "path/to/file.py:function"]),
        (["run", "missing.py:mine"], ["missing.py", "no such file"]),
        (["run", "--rounds", "3"], ["recipe", "distilfleet run koala --rounds 3"]),
        (["run", "--resume", "{}/missing"], ["missing", "run.toml", "--out"]),
        (["compare", "{}"], ["run.toml", "--out"]),
        (["compare", "--json"], ["distilfleet compare DIR"]),
    ],
)
def test_a_wrong_word_is_named_with_what_there_is(words, told_of, tmp_path, capfd):
    message = mistaken(capfd, *(word.format(tmp_path) for word in words))
    assert all(part in message for part in told_of), message


@pytest.mark.parametrize(
    ("words", "told_of"),
    [
        (["run", "koala", "--nonsense", "3"], "--nonsense"),
        (["run", "koala", "--rounds", "many"], "--rounds"),
        (["run", "koala", "--mode", "sideways"], "--mode"),
        (["run", "koala", "--rounds"], "--rounds"),
        (["run", "--resume"], "--resume"),
        (["devices", "--nonsense"], "--nonsense"),
        (["compare", "--nonsense", "3"], "--nonsense"),
    ],
)
def test_a_wrong_flag_is_named(words, told_of, capfd):
    said = told(capfd, *words)
    assert said.code == 2
    assert told_of in said.err
    assert "Traceback" not in said.out + said.err


def test_a_recipe_without_flags_is_told_what_it_takes(tmp_path, capfd):
    own = tmp_path / "own.py"
    own.write_text("def mine():\n    return 1\n\ndef other(x: int):\n    return 1\n")
    for name, part in (("mine", "dataclass"), ("other", "dataclass"), ("third", "no function")):
        assert part in mistaken(capfd, "run", f"{own}:{name}")


# --- what is there stays --------------------------------------------------------------------------


def test_a_run_is_never_overwritten(run, koala, capfd):
    before = content(run)
    message = mistaken(capfd, *koala(run))
    assert "already exists" in message
    assert f"--resume {run}" in message
    assert content(run) == before


def test_another_folder_is_never_written_into(koala, tmp_path, capfd):
    (tmp_path / "thesis.txt").write_text("dear")
    assert "already exists" in mistaken(capfd, *koala(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_named(koala, tmp_path, capfd):
    (tmp_path / "file").write_text("dear")
    assert "file" in mistaken(capfd, *koala(tmp_path / "file"))
    assert "file" in mistaken(capfd, *koala(tmp_path / "file" / "run"))
    assert (tmp_path / "file").read_text() == "dear"


def resumed_badly(capfd, run, *told_of):
    before = content(run)
    message = mistaken(capfd, "run", "--resume", run, "--rounds", 4)
    assert all(part in message for part in told_of), message
    assert content(run) == before


def test_a_run_of_another_version_is_refused(run, capfd):
    about = (run / "run.toml").read_text()
    (run / "run.toml").write_text(re.sub(r'distilfleet = ".*"', 'distilfleet = "0.0.1"', about))
    resumed_badly(capfd, run, "0.0.1", "Install distilfleet==0.0.1")


def test_a_record_of_another_schema_is_refused(run, capfd):
    about = (run / "run.toml").read_text()
    (run / "run.toml").write_text(about.replace("schema = 1", "schema = 99"))
    resumed_badly(capfd, run, "schema 99", "this version reads 1")
    assert "schema 99" in mistaken(capfd, "compare", run)


def test_damaged_settings_are_refused(run, capfd):
    about = (run / "run.toml").read_text()
    (run / "run.toml").write_text(about.replace("mixtures = 8", 'mixtures = "eight"'))
    resumed_badly(capfd, run, "mixtures")
    (run / "run.toml").write_text(about[:-30] + "= = =")
    resumed_badly(capfd, run, "run.toml", "damaged")


def test_a_run_that_lost_its_recipe_or_data_says_so(koala, data, tmp_path, capfd):
    run, copy = tmp_path / "run", tmp_path / "copy.npz"
    copy.write_bytes(data.read_bytes())
    assert told(capfd, *koala(run, "--data", copy)).code == 0
    copy.unlink()
    resumed_badly(capfd, run, "copy.npz", "no such file")
    about = (run / "run.toml").read_text()
    (run / "run.toml").write_text(about.replace('recipe = "koala"', 'recipe = "cuckoo"'))
    resumed_badly(capfd, run, "'cuckoo'", "koala")


def flipped(raw):
    """One bit of the last array's data is another."""
    return raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:]


@pytest.mark.parametrize(
    "cut", [lambda raw: raw[:-100], lambda raw: raw[:4], lambda raw: b"", flipped]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_works(cut, run, capfd, caplog):
    whole = {
        str(file.relative_to(run)): file.read_bytes()
        for file in (run / "models").rglob("*.safetensors")
    }
    newest = max((run / "checkpoints").iterdir())
    newest.write_bytes(cut(newest.read_bytes()))
    said = told(capfd, "run", "--resume", run)
    assert said.code == 0
    assert f"{newest.name} is" in caplog.text
    assert "goes on from the checkpoint before it" in (run / "run.toml").read_text()
    assert {
        str(file.relative_to(run)): file.read_bytes()
        for file in (run / "models").rglob("*.safetensors")
    } == whole


def test_a_run_whose_checkpoints_are_all_damaged_says_so_once(run, capfd):
    files = sorted((run / "checkpoints").iterdir())
    for file in files:
        file.write_bytes(flipped(file.read_bytes()))
    resumed_badly(capfd, run, files[-1].name, "damaged", "No older one is sound: restore a copy")


def test_missing_checkpoints_are_named(run, capfd):
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    resumed_badly(capfd, run, "holds no checkpoint")


def test_metrics_that_lack_rounds_are_named(run, capfd):
    (run / "metrics.jsonl").write_bytes(
        (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    )
    resumed_badly(capfd, run, "metrics.jsonl", "fewer rounds")


def test_damaged_metrics_are_named(run, tmp_path, capfd):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"{]\n" + lines[1])
    message = mistaken(capfd, "compare", run, "--out", tmp_path / "page.html")
    assert "metrics.jsonl, line 1" in message


# --- a full disk ----------------------------------------------------------------------------------


def test_a_file_too_large_is_named_and_the_run_can_go_on(koala, tmp_path, capfd):
    """As a quota does: no file may grow beyond a limit. Runs apart, for a limit cannot be taken
    back."""
    run = tmp_path / "run"
    start = child(*koala(run, "--checkpoint-every-s", 0), preexec_fn=lambda: limit_files(150_000))
    _, err = start.communicate()
    assert start.returncode == 2, err
    assert err.startswith("distilfleet: ")
    assert "round-00000001.safetensors cannot be written: File too large" in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert [file.name for file in (run / "checkpoints").iterdir()] == ["round-00000000.safetensors"]
    assert told(capfd, "run", "--resume", run).code == 0


def limit_files(size_bytes):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


@contextmanager
def small_disk(folder, size_kib):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("size_kib", "file"),
    [
        (4, "run.toml"),
        (250, "checkpoints/round-00000001.safetensors"),
        (340, "models/large.unfinished/model.safetensors"),
        (650, "report.html"),
    ],
)
def test_a_full_disk_is_named_and_the_run_can_go_on(size_kib, file, koala, done, tmp_path, capfd):
    with small_disk(tmp_path / "disk", size_kib) as disk:
        run = disk / "run"
        asked = koala(run, "--checkpoint-every-s", 0)
        said = told(capfd, *asked)
        assert said.code == 2
        assert (
            said.err
            == f"distilfleet: {run / file} cannot be written: No space left on device. {REMEDY}\n"
        )
        assert not list(run.rglob("*.unfinished"))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert told(capfd, *(asked if file == "run.toml" else ["run", "--resume", run])).code == 0
        for model in (done[0] / "models").rglob("*.safetensors"):
            assert (run / model.relative_to(done[0])).read_bytes() == model.read_bytes()
        assert (run / "report.html").read_text().endswith("</html>\n")


# --- any data -------------------------------------------------------------------------------------


def trains(capfd, path, *words):
    said = told(
        capfd,
        "run",
        "koala",
        "--rounds",
        2,
        "--mixtures",
        8,
        "--local-passes",
        1,
        "--out",
        path,
        *words,
    )
    assert said.code == 0, said
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    assert all(
        0 <= line["large_accuracy"] <= 1 and 0 <= line["small_accuracy"] <= 1 for line in lines
    )
    assert list((path / "models").glob("*/model.safetensors"))
    return said.out


@pytest.mark.parametrize("mode", MODES)
def test_own_arrays_train(mode, data, tmp_path, capfd):
    assert "table.npz" in trains(
        capfd, tmp_path / "run", "--data", data, "--devices", 4, "--mode", mode
    )


@pytest.mark.parametrize("mode", MODES)
def test_an_own_table_trains(mode, tmp_path, capfd):
    rng = stream(0, "own")
    rows = [f"{a:.3f},{b:.3f},{'wet' if a > b else 'dry'}" for a, b in rng.normal(size=(80, 2))]
    (tmp_path / "soil.csv").write_text("\n".join(["acid,salt,state", *rows]) + "\n")
    words = ["--data", tmp_path / "soil.csv", "--label", "state", "--devices", 4, "--mode", mode]
    trains(capfd, tmp_path / "run", *words)


@pytest.mark.parametrize("mode", MODES)
def test_own_pictures_train(mode, tmp_path, capfd):
    rng = stream(0, "pictures")
    for name, level in (("cat", 60), ("dog", 180)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.normal(level, 20, (8, 8)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    words = ["--data", tmp_path / "pets", "--large", "conv-s", "--devices", 3, "--mode", mode]
    trains(capfd, tmp_path / "run", *words)


def test_own_owners_train_and_resume_whatever_they_are_called(tmp_path, capfd):
    rng = stream(0, "owners")
    owners = np.array(["ward/1", "ward 2", "Zoë", "4"])[rng.integers(0, 4, 80)]
    labels = rng.integers(0, 2, 80)
    inputs = rng.normal(size=(80, 5)) + labels[:, None]
    np.savez(tmp_path / "clinic.npz", x_train=inputs, y_train=labels, group_train=owners)
    path = tmp_path / "run"
    trains(capfd, path, "--data", tmp_path / "clinic.npz", "--wire", "soft-labels")
    assert told(capfd, "run", "--resume", path, "--rounds", 3).code == 0
    shown = {device["id"] for device in json.loads((path / "fleet.json").read_text())["shown"]}
    assert shown == {"ward/1", "ward 2", "Zoë", "4"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_resumes(recipe, data, tmp_path, capfd):
    path = tmp_path / "run"
    words = ["--data", data, "--devices", 3, "--rounds", 1, "--local-passes", 1, "--out", path]
    assert told(capfd, "run", recipe, *words).code == 0
    assert told(capfd, "run", "--resume", path, "--rounds", 2).code == 0
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 2
