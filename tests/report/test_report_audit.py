from dataclasses import replace

from report_samples import history

from distilfleet.report.audit import audit_text, verdict
from distilfleet.report.page import write_page
from distilfleet.report.table import text_table

ROW = {
    "source": "student",
    "cut": 1,
    "attack": "left to right",
    "tokens": 400,
    "recovered": 300,
    "share": 0.75,
}
FOUND = {
    "schema": 1,
    "disclosure": "recoverable: smashed data",
    "rounds": 10,
    "exchanges": 4,
    "applies": True,
    "recovered_share": 0.75,
    "tokens": 400,
    "attacks": [ROW],
}
NOTHING = {**FOUND, "applies": False, "travelled": ["2 x float32[4]"], "attacks": []}


def written(tmp_path, run):
    write_page([run], tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_the_first_thing_on_a_split_page_is_who_can_read_the_data(tmp_path):
    run = history(recipe="splitkd", quality="loss")
    page = written(tmp_path, run)
    assert page.index("not against the edge server") < page.index("Results")
    assert "use KOALA" in page and "was not measured" in page
    measured = written(tmp_path, replace(run, audit=FOUND))
    assert measured.index("recovers 75.0 % of tokens (400 tried, after round 10)") < measured.index(
        "Results"
    )
    assert (
        "student’s" in measured.replace("'", "’").replace("&#x27;", "’")
        and "left to right" in measured
    )


def test_other_pages_do_not_speak_of_it(tmp_path):
    assert "edge server" not in written(tmp_path, history())


def test_the_terminal_has_attacks_disclosure_and_figures():
    said = audit_text(replace(history(), audit=FOUND))
    assert said.startswith(verdict(FOUND))
    assert "300 of 400" in said and "recoverable: smashed data" in said and "small accuracy" in said
    assert "tokens recovered  75.0 %" in said


def test_where_nothing_was_smashed_that_is_what_is_said():
    said = audit_text(replace(history(), audit=NOTHING))
    assert said.startswith("No smashed data travelled")
    assert "2 x float32[4]" in said


def test_a_run_that_was_not_attacked_has_no_figure():
    assert "recovered" not in text_table([history()])
