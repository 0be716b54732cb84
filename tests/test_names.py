"""Names of others are shown as they are: no brackets are markup, no control characters reach a
terminal or a page."""

import io

import pytest

from cli_runs import mistaken, told
from distilfleet.core.plain import plain, print_in_any_encoding
from distilfleet.service.partition import SplitFlags, split

NAMES = [
    "flow [/min]",
    "[bold]",
    "[link=x]y[/link]",
    ":smile:",
    "[/]",
    "\\[x",
    "<b>&amp;",
    "{x}",
    "%s",
]


def write(path, column="x", values="ab", labels="01"):
    rows = [f'{n % 7},"{values[n // 2 % len(values)]}",{labels[n % 2]}' for n in range(40)]
    path.write_text("\n".join([f'"{column}",gate,label', *rows, ""]))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_columns_values_and_classes_are_shown_as_they_are(
    name, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / f"{name.replace('/', '')}.csv", name, [name, "b"], [name, "d"])
    out = tmp_path / f"run {name.replace('/', '')}"
    said = told(
        capfd, "run", "fedavg", "--data", file.name, "--devices", 2, "--rounds", 1, "--out", out
    )
    assert said.code == 0, said.err
    assert f" on {file.name}: 2 devices" in said.out
    assert name in said.out.partition("'gate' became 2 inputs")[2].partition("\n")[0]
    assert f"Page: {out}" in said.out
    assert "<b>&amp;" not in (out / "report.html").read_text()


def test_control_characters_of_names_reach_no_terminal(tmp_path, capfd):
    evil = "\x1b[2J\x1b]0;mine\x07\n\u202e"
    file = write(tmp_path / "a.csv", f"x{evil}", [f"b{evil}", "c"])
    out = tmp_path / "run"
    said = told(capfd, "run", "fedavg", "--data", file, "--devices", 2, "--rounds", 1, "--out", out)
    assert said.code == 0, said.err
    message = mistaken(
        capfd, "run", "fedavg", "--data", file, "--label", f"z{evil}", "--out", tmp_path / "other"
    )
    for text in (said.out, message):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "\x1b" not in (out / "report.html").read_text()


def test_a_message_with_names_stays_on_one_line_and_short(tmp_path, capfd):
    file = write(tmp_path / "a.csv", "x" * 100_000)
    message = mistaken(
        capfd, "run", "fedavg", "--data", file, "--label", "z", "--out", tmp_path / "run"
    )
    assert message.count("\n") == 1
    assert len(message) < 1000
    assert plain("a\nb\x1b[1m\tc\udcff") == "a b?[1m c?"


def test_owners_may_be_called_as_no_file_can_be(tmp_path):
    owners = ["a/b", "..", "c:d", "100%", "\u00fc"]
    rows = [f"{n},{n % 2},{owners[n % 5]}" for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label,group", *rows, ""]))
    split(SplitFlags(data=str(tmp_path / "a.csv"), group="group", out=tmp_path / "parts"))
    parts = {file.name for file in (tmp_path / "parts").iterdir()}
    assert parts == {
        "a%2Fb.npz",
        "%2E..npz",
        "c%3Ad.npz",
        "100%25.npz",
        "\u00fc.npz",
        "server.npz",
        "proxy.npz",
    }


def test_an_owner_called_as_the_server_s_own_file_is_refused(tmp_path, capfd):
    rows = [f"{n},{n % 2},{['Server', 'b'][n // 2 % 2]}" for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label,group", *rows, ""]))
    message = mistaken(
        capfd, "split", tmp_path / "a.csv", "--group", "group", "--out", tmp_path / "parts"
    )
    assert "'Server'" in message


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", b"49.2 us, 5 - ..., S?ren ?"),
        ("latin-1", b"49.2 \xb5s, 5 - ..., S\xf8ren ?"),
        ("utf-8", "49.2 µs, 5 – …, Søren 日".encode()),
    ],
)
def test_signs_that_a_terminal_does_not_have_are_spelled_by_others(encoding, printed):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_in_any_encoding(stream)
    stream.write("49.2 µs, 5 – …, Søren 日")
    stream.flush()
    assert stream.buffer.getvalue() == printed
