"""What each choice of cut takes, against published sizes and by hand."""

import numpy as np
import plan_parts as parts
import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.plan.options import FRAME_BYTES, Workload, decoder_options, wire_bits

TOKENS = 4 * 512
GB = 1e9


def test_the_profiles_of_these_tests_have_the_published_parameter_counts():
    assert parts.TEACHER.parameters == 8_029_995_008
    assert parts.STUDENT.parameters == 1_235_746_816


def test_the_server_works_what_is_published_for_the_two_ends():
    options = parts.llama(teacher_cuts=(0,))
    assert options.server_flops[options.find(0, 0, 16)] == pytest.approx(41.3e12, rel=0.01)
    assert options.server_flops[options.find(0, 16, 16)] == pytest.approx(33.2e12, rel=0.01)


@pytest.mark.parametrize(
    ("layers", "expected_bytes"), [(1, 0.37e9), (4, 1.17e9), (8, 2.23e9), (16, 4.36e9)]
)
def test_memory_of_a_front_is_as_published(layers, expected_bytes):
    options = parts.llama(teacher_cuts=(0,))
    at_embedding = options.device_memory_bytes[options.find(0, 0, 16)]
    # tables and what is about to be sent
    assert at_embedding == pytest.approx(0.10e9 + 2 * TOKENS * 6144, rel=0.01)
    grown = options.device_memory_bytes[options.find(0, layers, 16)] - at_embedding
    assert grown == pytest.approx(expected_bytes - 0.10e9, rel=0.02)


def test_a_step_sends_what_is_published():
    options = parts.llama(teacher_cuts=(0,))
    up = options.up_bytes[options.find(0, 0, 16)]
    assert up == 2 * TOKENS * (4096 + 2048) + 4 * TOKENS + FRAME_BYTES
    cached = parts.llama(teacher_cached=True, bits=(8,))
    assert cached.up_bytes[0] == pytest.approx(
        TOKENS * 2048 + 2 * TOKENS + 4 * TOKENS + FRAME_BYTES
    )


def test_every_cut_of_a_decoder_sends_the_same_bytes():
    options = parts.llama()
    assert len(set(options.up_bytes.round())) == 1
    assert set(options.down_bytes.round()) == {FRAME_BYTES, FRAME_BYTES + 2.0 * TOKENS * 2048}
    assert (options.down_bytes < FRAME_BYTES + 1).sum() == 5  # a frozen embedding wants no gradient
    assert set(parts.llama(rank=None, steps=10**12).down_bytes.round()) == {
        FRAME_BYTES + 2.0 * TOKENS * 2048
    }


def test_a_net_sends_less_the_deeper_it_is_cut():
    options = parts.resnet18()
    assert not options.same_bytes
    assert (np.diff(options.up_bytes) <= 0).all()
    assert options.cut.tolist() == list(range(1, 10))
    assert options.up_bytes[0] == 32 * 64 * 56**2 * 2 + 4 * 32 + FRAME_BYTES


def test_work_is_neither_lost_nor_made():
    for options in (parts.llama(), parts.resnet18()):
        assert (
            np.ptp(options.device_flops + options.server_flops) < 1e-9 * options.server_flops.max()
        )


def test_scales_are_counted():
    assert wire_bits(16, 2048) == 16
    assert wire_bits(8, 2048) == 8 + 16 / 2048
    assert wire_bits(4, 2048) == 4.5
    with pytest.raises(ConfigError, match="16, 8 or 4 bits, got 3"):
        wire_bits(3, 2048)


def test_gradients_come_down_with_eight_bits_where_four_go_up():
    four, eight = parts.llama(bits=(4,)), parts.llama(bits=(8,))
    assert (four.up_bytes < eight.up_bytes).all()
    assert (four.down_bytes == eight.down_bytes).all()


def test_a_cached_teacher_takes_nothing():
    options = parts.llama(teacher_cached=True)
    without = decoder_options(
        None, parts.STUDENT, Workload(batch_tokens=TOKENS, steps=10**12, rows=8192, bits=(16,))
    )
    for name in ("up_bytes", "server_flops", "device_memory_bytes"):
        assert getattr(options, name).tolist() == getattr(without, name).tolist()
    assert options.server_held_bytes < 3 * GB < parts.llama().server_held_bytes


def test_labels_that_stay_send_a_hidden_state_down_and_its_gradient_up():
    shared, kept = parts.llama(bits=(8,)), parts.llama(bits=(8,), labels_kept=True)
    row_bytes = TOKENS * 2048 * wire_bits(8, 2048) / 8
    assert kept.down_bytes - shared.down_bytes == pytest.approx(np.full(len(kept), row_bytes))
    assert kept.up_bytes - shared.up_bytes == pytest.approx(
        np.full(len(kept), row_bytes - 4 * TOKENS)
    )
    assert (kept.server_flops < shared.server_flops).all()
    assert (kept.device_memory_bytes > shared.device_memory_bytes).all()


def test_what_travels_once_per_round_is_spread_over_its_steps():
    adapters_bytes = 2 * 8 * 8 * 2048 * 16
    one, ten = parts.llama(steps=1), parts.llama(steps=10)
    deepest = one.find(0, 16, 16)
    grown = one.up_bytes[deepest] - ten.up_bytes[deepest]
    assert grown == pytest.approx(0.9 * adapters_bytes)


def test_full_training_takes_more_than_adapters():
    adapted, full = parts.llama(steps=100), parts.llama(steps=100, rank=None)
    deepest = adapted.find(0, 16, 16)
    for name in ("device_flops", "device_memory_bytes", "up_bytes"):
        assert getattr(full, name)[deepest] > getattr(adapted, name)[deepest]


def test_computing_again_saves_memory_for_work():
    kept, again = parts.llama(), parts.llama(recompute=True)
    deepest = kept.find(0, 16, 16)
    assert again.device_memory_bytes[deepest] < 0.7 * kept.device_memory_bytes[deepest]
    assert again.device_flops[deepest] == pytest.approx(1.5 * kept.device_flops[deepest])


def test_a_smaller_teacher_on_the_server_weighs_less():
    sixteen, four = parts.llama().server_held_bytes, parts.llama(teacher_bits=4).server_held_bytes
    assert sixteen - four == pytest.approx(parts.TEACHER.parameters * (16 - 4.5) / 8)


def test_cuts_that_are_not_there_are_refused():
    with pytest.raises(
        ConfigError, match=r"teacher cut 40 is beyond llama-3.1-8b, which has 32 layers"
    ):
        parts.llama(teacher_cuts=(0, 40))
    with pytest.raises(ConfigError, match="no option with teacher cut 3, cut 0 and 16 bits"):
        parts.llama().find(3, 0, 16)
