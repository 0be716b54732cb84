"""The line of a round in a terminal."""

from report_samples import history

from distilfleet.report.live import show


def shown(capsys, row):
    show(10, 1, [row], lambda: False)
    return capsys.readouterr().out.replace("\n", " ")


def test_devices_that_answered_are_told_from_jobs_that_were_missed(capsys):
    row = history().rounds[0]
    assert "answered 4/5 " in shown(capsys, row)
    assert "answered 4/5 " in shown(capsys, {**row, "asked": 5, "jobs": 5})
    assert "answered 5/5 but 1 job missed" in shown(
        capsys, {**row, "devices": 5, "asked": 5, "jobs": 500}
    )
    assert "answered 5/6 but 4,000 jobs missed" in shown(
        capsys, {**row, "devices": 5, "asked": 6, "jobs": 9000, "missed": 4000}
    )


def test_round_0_says_what_models_knew_and_nothing_of_devices(capsys):
    said = shown(capsys, {"round": 0, "large_accuracy": 0.915, "small_accuracy": 0.1})
    assert said == "round 0/10 large 91.50% small 10.00% "


def test_a_round_that_asks_nobody_has_no_answers(capsys):
    row = history().rounds[0]
    assert "answered" not in shown(
        capsys, {**row, "devices": 0, "asked": 0, "jobs": 0, "missed": 0}
    )
