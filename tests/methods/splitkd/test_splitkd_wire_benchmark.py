"""The script that prices split KD's steps runs, and prices them at the size that it says."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "splitkd_wire.py"


@pytest.fixture(scope="module")
def wire():
    spec = importlib.util.spec_from_file_location("splitkd_wire", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
def test_the_plain_scheme_at_the_large_size_takes_what_its_tensors_do(wire):
    """16 bits of both widths up and of the student's down, for 4,096 tokens, and the server's work,
    one by one."""
    plain = wire.price(wire.PLAIN_SCHEME, 1, devices=1)
    assert plain.up_bytes == pytest.approx(4096 * ((4096 + 2048) * 2 + 4), rel=1e-3)
    assert plain.down_bytes == pytest.approx(4096 * 2048 * 2, rel=1e-3)
    links_s = 8 * plain.up_bytes / 20e6 + 8 * plain.down_bytes / 50e6
    teacher, student = (wire._traced(name) for name in wire.LARGE)
    forward = [
        sum(layer.forward_flops for layer in one.layers) + one.head_flops
        for one in (teacher, student)
    ]
    server_s = 4096 * (forward[0] + 3 * forward[1]) / wire.SERVER_FLOPS_PER_S
    assert plain.seconds_s == pytest.approx(links_s + server_s, rel=0.01)


@pytest.mark.slow
def test_it_prints_its_tables(wire, monkeypatch, capsys):
    """In this process, where the test above has traced the large models and read the text
    already."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--quick"])
    wire.main()
    assert capsys.readouterr().out.count("\n| ") == 12, (
        "two heads, eight schemes and two rows of late gradients"
    )
