import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilfleet.core.bundle import all_over_the_wire, over_the_wire, write
from distilfleet.core.table import DeviceRow
from distilfleet.core.types import ArraySpec, Expected, Job, Reply
from distilfleet.core.wire import DTYPES, encode_reply, specs

PLAIN = {"w": np.ones((2, 3), "f4"), "n": np.array(5), "v": np.arange(4, dtype="f8")}
names = st.text(max_size=6)
layouts = st.dictionaries(
    names,
    st.tuples(
        st.sampled_from(sorted(DTYPES)),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
)


def jobs(count, answer, most_norm=float("inf"), expected=None):
    expected = expected or Expected(arrays=specs(answer), most_norm=most_norm)
    return [
        Job(id="r" * (i + 1), device=f"d{9 + i}", op="o", arrays={}, expected=expected)
        for i in range(count)
    ]


def rows(answers):
    """The same, side by side."""
    table = {name: np.stack([one[name] for one in answers]) for name in answers[0]}
    return [DeviceRow(table, d) for d in range(len(answers))]


def assert_alike(asked, answers):
    with np.errstate(all="ignore"):
        alone = [over_the_wire(job, arrays) for job, arrays in zip(asked, answers, strict=True)]
    for one, many in zip(alone, all_over_the_wire(asked, answers), strict=True):
        assert type(one) is type(many)
        if not isinstance(one, Reply):
            assert one == many
            continue
        assert isinstance(many, Reply)
        assert (one.job, one.device, list(one.arrays)) == (many.job, many.device, list(many.arrays))
        for name, array in one.arrays.items():
            came = many.arrays[name]
            assert (came.dtype.str, came.shape, came.tobytes()) == (
                array.dtype.str,
                array.shape,
                array.tobytes(),
            )
            assert not came.size or not came.flags.writeable


@given(st.data(), layouts, st.integers(1, 4), st.sampled_from([float("inf"), 10.0, 1.0]))
def test_many_replies_come_as_each_alone(data, layout, count, most_norm):
    arrays = {name: hnp.arrays(*spec) for name, spec in layout.items()}
    answers = [data.draw(st.fixed_dictionaries(arrays)) for _ in range(count)]
    asked = jobs(count, answers[0], most_norm)
    assert_alike(asked, answers)
    assert_alike(asked, rows(answers))


ODD = {
    "nan": {**PLAIN, "v": np.array([0, np.nan, 0, 0])},
    "infinity": {**PLAIN, "w": np.full((2, 3), np.inf, "f4")},
    "overflow": {**PLAIN, "v": np.full(4, 1e200)},
    "large": {**PLAIN, "w": np.full((2, 3), 1e3, "f4")},
    "shape": {**PLAIN, "w": np.ones((3, 2), "f4")},
    "dtype": {**PLAIN, "w": np.ones((2, 3), "f8")},
    "big-endian": {**PLAIN, "w": np.ones((2, 3), ">f4")},
    "transposed": {**PLAIN, "w": np.ones((3, 2), "f4").T},
    "missing": {"w": PLAIN["w"]},
    "extra": {**PLAIN, "x": np.ones(1)},
    "order": dict(reversed(PLAIN.items())),
    "nothing": {},
}


@pytest.mark.parametrize("most_norm", [float("inf"), 100.0])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_reply_among_others_is_treated_as_if_alone(odd, most_norm):
    assert_alike(jobs(4, PLAIN, most_norm), [PLAIN, ODD[odd], PLAIN, ODD[odd]])


@pytest.mark.parametrize("odd", ["nan", "infinity", "overflow", "large"])
def test_an_odd_row_among_others_is_treated_as_if_alone(odd):
    assert_alike(jobs(4, PLAIN, 100.0), rows([PLAIN, ODD[odd], PLAIN, ODD[odd]])[::-1])


@pytest.mark.parametrize("other", ["shape", "dtype", "big-endian", "missing", "nothing"])
def test_rows_of_another_layout_are_refused_as_if_alone(other):
    assert_alike(jobs(2, PLAIN), rows([ODD[other]] * 2))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_fewer_rows_than_announced_are_let_in_and_more_are_not(count):
    expected = Expected(arrays={"v": ArraySpec("<f8", (3,), at_most=True)})
    assert_alike(jobs(2, {}, expected=expected), rows([{"v": np.ones(count)}] * 2))


def test_a_norm_at_its_limit_is_decided_as_if_alone():
    limit = float(np.sqrt(6.0))
    for scale in (0.98, 0.999999, 1.0, 1.000001):
        answer = {"w": np.full((2, 3), scale, "f4")}
        assert_alike(jobs(2, answer, limit), [answer, answer])


def test_frames_are_those_of_each_alone():
    asked = jobs(3, PLAIN)
    for job, row in zip(asked, write(asked, [PLAIN] * 3), strict=True):
        assert row.tobytes().lstrip(b"\0") == encode_reply(job.id, job.device, PLAIN).to_bytes()
