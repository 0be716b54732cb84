"""Fleets, models and references that the planner's tests share."""

import itertools
from types import SimpleNamespace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix, vstack

from distilfleet.core.types import LanguageProfile, LayerProfile
from distilfleet.cost import catalogue
from distilfleet.plan.facts import Hardware, Radio, ServerFacts, facts_of
from distilfleet.plan.options import (
    FRAME_BYTES,
    LABEL_BYTES,
    Options,
    Workload,
    decoder_options,
    wire_bits,
)
from distilfleet.plan.terms import Terms

KINDS = catalogue.trainable_kinds()
COLUMNS = ("speed_flops_per_s", "memory_bytes_per_s", "memory_bytes", "idle_w", "busy_w")


def decoder(name, width, narrow, inner, layers, vocabulary=128_256, tied=False, steps=512):
    """A LLaMA-type profile from its published sizes."""
    weights = 2 * width**2 + 2 * width * narrow + 3 * width * inner
    layer = LayerProfile(
        name="layer",
        forward_flops=2 * weights + 2 * steps * width,
        weight_bytes=2 * weights,
        output_bytes=2 * width,
    )
    return LanguageProfile(
        name=name,
        width=width,
        vocabulary=vocabulary,
        layers=(layer,) * layers,
        steps=steps,
        head_flops=2 * width * vocabulary,
        embedding_parameters=width * vocabulary,
        other_parameters=0 if tied else width * vocabulary,
    )


TEACHER = decoder("llama-3.1-8b", 4096, 1024, 14_336, 32)
STUDENT = decoder("llama-3.2-1b", 2048, 512, 8192, 16, tied=True)
STEP = Workload(
    batch_tokens=4 * 512, steps=10**12, rows=8192, teacher_cuts=(0, 1, 2, 4, 8), bits=(16,)
)

RESNET18 = [
    (118, 64 * 56**2),
    (231, 64 * 56**2),
    (231, 64 * 56**2),
    (180, 128 * 28**2),
    (231, 128 * 28**2),
]
RESNET18 += [(180, 256 * 14**2), (231, 256 * 14**2), (180, 512 * 49), (231, 512 * 49), (0.5, 1000)]


def resnet18(samples=32):
    layers = [
        LayerProfile(
            name=str(i),
            forward_flops=2e6 * million,
            weight_bytes=4_500_000,
            output_bytes=4 * numbers,
        )
        for i, (million, numbers) in enumerate(RESNET18)
    ]
    return layer_options("resnet18", layers, samples)


def layer_options(name, layers, samples, bits=(16,)):
    """Options of a net that is a chain of layers, all of them trained, from after its first layer
    to before its last.

    A device never sends its input, and the server always has a layer left. Forward FLOPs and
    outputs are of one sample; the backward pass takes twice the forward one.
    """
    choices = list(itertools.product(range(1, len(layers)), sorted(bits, reverse=True)))
    cut_K, bits_K = (np.array(column) for column in zip(*choices, strict=True))
    flops = below([layer.forward_flops for layer in layers]) * 3 * samples
    weights = below([layer.weight_bytes for layer in layers])
    outputs = below([layer.output_bytes for layer in layers]) * samples
    numbers_K = np.array([layers[cut - 1].output_bytes for cut in cut_K]) / 4 * samples
    row = layers[0].output_bytes  # one scale per sample: as good as none
    up_K = numbers_K * np.array([wire_bits(bit, row) for bit in bits_K]) / 8
    down_K = numbers_K * np.array([wire_bits(max(bit, 8), row) for bit in bits_K]) / 8
    return Options(
        model=name,
        layers=len(layers),
        same_bytes=False,
        teacher_cut=np.zeros_like(cut_K),
        cut=cut_K,
        bits=bits_K,
        device_flops=flops[cut_K],
        device_moved_bytes=3 * weights[cut_K] + 2 * outputs[cut_K],
        device_memory_bytes=3 * weights[cut_K] + outputs[cut_K],
        server_flops=flops[-1] - flops[cut_K],
        server_memory_bytes=outputs[-1] - outputs[cut_K],
        up_bytes=FRAME_BYTES + up_K + LABEL_BYTES * samples,
        down_bytes=FRAME_BYTES + down_K,
        server_held_bytes=float(3 * weights[-1]),
    )


def below(values):
    """Sums over the layers below each cut, [L + 1]."""
    return np.array([0.0, *itertools.accumulate(values)])


def llama(**changes):
    return decoder_options(TEACHER, STUDENT, Workload(**{**work_of(STEP), **changes}))


def work_of(work):
    return {name: getattr(work, name) for name in Workload.__slots__}


def some(options, rows):
    """A part of an option table."""
    named = {n: getattr(options, n) for n in type(options).__slots__}
    return type(options)(
        **{n: v[rows] if isinstance(v, np.ndarray) else v for n, v in named.items()}
    )


def hardware(kinds=KINDS):
    boards = [catalogue.device(kind, kind) for kind in kinds]
    columns = {
        name: np.array([float(getattr(board, name)) for board in boards]) for name in COLUMNS
    }
    return Hardware(**columns, transmit_w=np.array([board.link.transmit_w for board in boards]))


def fleet(size, seed, options, *, cells=1, band_hz=1e8, spread=0.15):
    """Boards of the catalogue over cells, each with its own rates; whoever lacks memory may use the
    first option."""
    rng = np.random.default_rng(seed)
    radio = Radio(
        up_bps=0.75 * band_hz * rng.uniform(0.15, 5.6, size),
        down_bps=0.75 * band_hz * rng.uniform(0.6, 5.6, size),
        cell=rng.permutation(np.arange(size) % cells),
        slowdown=np.exp(spread * rng.standard_normal(size)),
        base_s=np.full(size, 0.006),
    )
    facts = facts_of(hardware(), np.sort(rng.integers(0, len(KINDS), size)), radio, options)
    return facts.allowing(facts.allowed_GK | (np.arange(len(options)) == 0))


def server(speed_flops_per_s=1.76e13):
    return ServerFacts(speed_flops_per_s=speed_flops_per_s, busy_w=165.0)


def terms(facts, at=None, price_s_per_j=0.02, server_price_s_per_j=0.02):
    return Terms.of(facts, at or server(), np.full(len(facts), price_s_per_j), server_price_s_per_j)


def dense(of):
    """Every device times every option, as only a reference may do: own costs, roots of sums, what
    is allowed."""
    facts = of.facts
    kind, options = facts.kind, facts.options
    own = facts.seconds_GK[kind] * of.own[:, None] + of.sent[:, None] * options.up_bytes
    own = own + of.fixed[:, None] + of.server_own_K
    up, down = of.up[:, None] * of.up_K, of.down[:, None] * of.down_K
    allowed = facts.allowed_GK[kind]
    return SimpleNamespace(
        own=own, up=up, down=down, server=of.server_K, allowed=allowed, cell=facts.cell
    )


def brute(of):
    """The least cost of a small fleet, by trying everything."""
    full = dense(of)
    axes = [np.flatnonzero(allowed) for allowed in full.allowed]
    grid = np.array(list(itertools.product(*axes)))
    devices = np.arange(grid.shape[1])
    cost = full.own[devices, grid].sum(axis=1) + full.server[grid].sum(axis=1) ** 2
    for roots in (full.up, full.down):
        picked = roots[devices, grid]
        for cell in range(of.facts.cells):
            cost = cost + picked[:, full.cell == cell].sum(axis=1) ** 2
    return float(cost.min())


def highs(of, most_rounds=30):
    """The least cost, by HiGHS with tangents to the squares: the cost and what it proves."""
    full = dense(of)
    size, count = full.own.shape
    cells = of.facts.cells
    squares = 2 * cells + 1
    rows = []
    for roots in (full.up, full.down):
        rows += [
            np.where((full.cell == cell)[:, None], roots, 0.0).ravel() for cell in range(cells)
        ]
    rows.append(np.broadcast_to(full.server, full.own.shape).ravel())
    sums = np.stack(rows)
    start = sums.reshape(squares, size, count)[:, :, 0].sum(axis=1)
    points = [[s * share for share in (0.25, 0.5, 0.75, 1.0, 1.25)] for s in start]
    each = coo_matrix(
        (np.ones(size * count), (np.repeat(np.arange(size), count), np.arange(size * count))),
        shape=(size, size * count + squares),
    ).tocsr()
    for _ in range(most_rounds):
        cuts = [
            np.r_[-2 * y * sums[j], np.eye(squares)[j]]
            for j, tangents in enumerate(points)
            for y in tangents
        ]
        least = [-(y**2) for tangents in points for y in tangents]
        solved = milp(
            np.r_[np.where(full.allowed, full.own, 0.0).ravel(), np.ones(squares)],
            integrality=np.r_[np.ones(size * count), np.zeros(squares)],
            bounds=Bounds(0, np.r_[full.allowed.ravel().astype(float), np.full(squares, np.inf)]),
            constraints=[
                LinearConstraint(each, 1, 1),
                LinearConstraint(vstack([csr_matrix(c) for c in cuts]), least),
            ],
            options={"mip_rel_gap": 1e-8, "time_limit": 120},
        )
        chosen = solved.x[:-squares].reshape(size, count).argmax(axis=1)
        cost = of.cost(chosen)
        if cost - solved.mip_dual_bound <= 3e-7 * cost:
            break
        reached = sums.reshape(squares, size, count)[:, np.arange(size), chosen].sum(axis=1)
        for tangents, s in zip(points, reached, strict=True):
            tangents.append(s)
    return cost, solved.mip_dual_bound
