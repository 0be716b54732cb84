"""What the edge server could read from an exchange: attacks on smashed data as they travelled, and
on what returns.

The server has what it sent when the round began - rows and layers of the student -, what the device
had learnt at its end, and the teacher itself. Where rows and layers were between is taken to be on
the line from one to the other; a server that replays the gradients it sent would know exactly, so
what is recovered here is a lower bound.

Where labels stay on devices, the gradient of cross-entropy comes back: probabilities less one at
the label, times the output table. The server knows probabilities and table, so what is left is the
label's row (Zhao et al., "iDLG", 2020, https://arxiv.org/abs/2001.02610).

Axes: B samples, T tokens, N counted positions, R rows of a device, D width, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...core.prefix import under
from ...core.types import PADDING, Arrays, Job, Reply
from ...nn import split as splitting
from ...nn.candidates import Candidates
from ...nn.place import as_array
from ...trust.audit import Recovery, by_left_to_right, by_nearest_row
from . import codec
from .device import SplitWorker, softmax
from .modules import ServerModules

if TYPE_CHECKING:
    from .server import SplitKD
    from .state import State

Source = Literal["teacher", "student", "labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One exchange, decoded."""

    begin: Job
    """The job with which the device's round began."""
    job: Job
    reply: Reply
    learnt: Arrays
    """What the device said at the end of the round; empty if it was lost before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an attack recovered from one exchange."""

    source: Source
    cut: int
    recovery: Recovery


def findings(
    method: "SplitKD", state: "State", worker: SplitWorker, observation: Observation
) -> Iterator[Finding]:
    """Every attack that the exchange allows; `worker` has the device's own data, to say what is
    true."""
    worker.handle(observation.begin)
    slot = int(observation.job.arrays["slot"])
    truth_BT = worker.tokens(slot)
    known = _known(observation, slot // method.split.micro_batches / method.split.steps)
    if observation.job.op == "loss":
        yield _from_gradient(worker.wanted(slot), known["head"], observation)
        return
    modules = method.ready(state)
    answer = observation.reply.arrays
    truth = {"student": truth_BT, "teacher": truth_BT[_needed(observation)]}
    for source, rows in _tables(modules, worker, known).items():
        sent = under(source, answer)
        if sent:
            wire = _Wire(source, modules, known)
            yield _from_smashed(wire, sent, rows, ids_R=worker.ids, ids_BT=truth[source])
    if "labels" in answer and method.split.classes is None:
        yield _from_labels(answer["labels"], truth_BT)


def _needed(observation: Observation) -> np.ndarray:
    """The windows that were sent for the teacher too."""
    return np.asarray(observation.job.arrays["need"], bool)


def _from_labels(labels_BT: np.ndarray, truth_BT: np.ndarray) -> Finding:
    """The labels of a language model are its tokens."""
    real_BT = truth_BT != PADDING
    hits = int(((labels_BT == truth_BT) & real_BT).sum())
    recovery = Recovery(attack="as they are sent", tokens=int(real_BT.sum()), recovered=hits)
    return Finding(source="labels", cut=0, recovery=recovery)


def _known(observation: Observation, share: float) -> dict[str, np.ndarray]:
    """What the server takes the device to have had after this share of the round."""
    known = dict(observation.begin.arrays)
    for name, learnt in observation.learnt.items():
        sent = "student_rows" if name == "rows" else name
        if sent in known:
            known[sent] = np.asarray(known[sent], np.float32) + np.float32(share) * np.asarray(
                learnt, np.float32
            )
    return known


@dataclass(frozen=True, slots=True)
class _Wire:
    """Whose smashed data, and what the server needs to make the same."""

    source: Source
    modules: ServerModules
    known: Arrays

    @property
    def cut(self) -> int:
        return int(self.known["cut" if self.source == "student" else "teacher_cut"])

    def front(self) -> splitting.Front:
        module = self.modules.student if self.source == "student" else self.modules.teacher
        assert module is not None, "what came of a teacher came because there is one"
        splitting.put_weights(module, under(self.source, self.known))
        return splitting.Front(module.eval(), self.cut)


def _tables(
    modules: ServerModules, worker: SplitWorker, known: Arrays
) -> Mapping[Source, np.ndarray]:
    """The rows that occur on the device, as the server has them, [R, D]."""
    tables: dict[Source, np.ndarray] = {"student": np.asarray(known["student_rows"], np.float32)}
    if modules.teacher is not None:
        tables["teacher"] = as_array(splitting.token_table(modules.teacher))[worker.ids]
    return tables


def _from_smashed(
    wire: _Wire, sent: Arrays, rows_RD: np.ndarray, *, ids_R: np.ndarray, ids_BT: np.ndarray
) -> Finding:
    """By the nearest row at the embedding cut, else from left to right; candidates are the rows of
    the device.

    `ids_R` are the tokens of those rows, `ids_BT` what the device really had.
    """
    values = codec.decode(sent)
    index_BT = sent.get("index")
    smashed_BTD = values.reshape(*ids_BT.shape, -1) if index_BT is None else values[index_BT]
    real_BT = ids_BT != PADDING
    if wire.cut == 0:
        wanted_N = np.searchsorted(ids_R, ids_BT[real_BT])
        recovery = by_nearest_row(smashed_BTD[real_BT], rows_RD, wanted_N)
        return Finding(source=wire.source, cut=wire.cut, recovery=recovery)
    texts = []
    wanted = []
    for smashed_TD, ids_T, real_T in zip(smashed_BTD, ids_BT, real_BT, strict=True):
        texts.append(smashed_TD[real_T])
        wanted.append(np.searchsorted(ids_R, ids_T[real_T]))
    recovery = by_left_to_right(texts, Candidates(wire.front(), rows_RD), len(rows_RD), wanted)
    return Finding(source=wire.source, cut=wire.cut, recovery=recovery)


def _from_gradient(wanted_N: np.ndarray, head_VD: np.ndarray, observation: Observation) -> Finding:
    head_VD = np.asarray(head_VD, np.float32)
    hidden_ND = codec.decode(under("hidden", observation.job.arrays))
    expected_ND = softmax(hidden_ND @ head_VD.T) @ head_VD
    rows_ND = expected_ND - codec.decode(under("gradient", observation.reply.arrays))
    found = by_nearest_row(rows_ND, head_VD, wanted_N)
    recovery = Recovery(attack="returned gradient", tokens=found.tokens, recovered=found.recovered)
    return Finding(source="labels", cut=0, recovery=recovery)
