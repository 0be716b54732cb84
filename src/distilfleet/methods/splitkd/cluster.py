"""One cluster's part of a round: rows and fronts go out, steps in parallel, what was learnt comes back.

Axes: R rows of a device, V vocabulary, D width of the student.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...core.types import ArraySpec, Assignment, DeviceId, Plan, Reply, Wave
from ...nn import split as splitting
from .merge import merged
from .modules import ServerModules
from .rows import rows_present
from .settings import DIGEST_BYTES
from .steps import ClusterRun, Participant, Steps
from .teacher_cache import TeacherCache

if TYPE_CHECKING:
    from .server import SplitKD
    from .state import State


def train_cluster(
    method: "SplitKD", studio: ServerModules, state: "State", plan: Plan, cluster: tuple[int, Sequence[DeviceId]]
) -> Steps:
    """The state after this cluster's steps. Devices that do not answer are left out from then on."""
    number, devices = cluster
    session = ClusterRun(
        method=method,
        studio=studio,
        state=state,
        number=number,
        seats={},
        memory=TeacherCache.of(method.loss.remember, state.signals),
    )
    yield from _open(session, devices)
    yield from _begin(session, plan, devices)
    if not session.seats:
        return session.state
    studio.begin(state.student, state.moments, method.split.lr)
    yield from session.train()
    replies = yield from _end(session)
    return replace(
        session.state,
        student=merged(studio, session.state, replies, session.cuts, session.tokens),
        moments=studio.moments(),
        signals=session.memory.stored(),
        tokens=session.state.tokens + sum(session.tokens.values()),
        uploads=session.state.uploads + session.uploads,
    )


def _open(session: ClusterRun, devices: Sequence[DeviceId]) -> Steps:
    """Ask new devices which rows occur there."""
    state, vocabulary = session.state, session.method.split.student.vocabulary
    spec = {"present": ArraySpec("|u1", (-(-vocabulary // 8),))}
    new = [device for device in devices if device not in state.present]
    if new:
        jobs = [session.job(device, "open", "open", {}, spec) for device in new]
        results = yield Wave(jobs=jobs)
        present = {result.device: np.array(result.arrays["present"]) for result in results if isinstance(result, Reply)}
        session.state = replace(state, present={**state.present, **present})


def _begin(session: ClusterRun, plan: Plan, devices: Sequence[DeviceId]) -> Steps:
    """Send rows and fronts; learn which samples will come."""
    method, split = session.method, session.method.split
    known = [device for device in devices if device in session.state.present]
    hows = {device: plan.assignments.get(device) or Assignment(cut=split.cut, bits=split.bits) for device in known}
    samples = split.steps * split.batch
    spec = {"digests": ArraySpec("|u1", (samples, DIGEST_BYTES)), "lengths": ArraySpec("<i4", (samples,))}
    jobs = [session.job(device, "begin", "begin", _sent(session, device, hows[device]), spec) for device in known]
    results = (yield Wave(jobs=jobs)) if jobs else []
    for result in results:
        if isinstance(result, Reply) and _plausible(result.arrays["lengths"], split.context):
            session.seats[result.device] = Participant(
                device=result.device,
                how=hows[result.device],
                digests_K=np.array(result.arrays["digests"]),
                lengths_K=np.array(result.arrays["lengths"]),
            )
    session.cuts = {device: seat.how.cut for device, seat in session.seats.items()}
    if method.teacher is not None:
        session.state = replace(session.state, holders=tuple({*session.state.holders, *session.seats}))


def _sent(session: ClusterRun, device: DeviceId, how: Assignment) -> dict[str, np.ndarray]:
    """Of the student: rows and layers before the cut; of the teacher the same, if the device has no rows yet."""
    split, state, studio = session.method.split, session.state, session.studio
    ids_R = rows_present(state.present[device], split.student.vocabulary)
    table = splitting.parts(studio.student, trainable=False).embedding[0]
    student_VD = state.student.get(table)
    if student_VD is None:
        student_VD = splitting.token_table(studio.student).detach().numpy()
    first_step = (state.round - 1) * split.steps
    arrays = {
        "cut": np.array(how.cut),
        "teacher_cut": np.array(how.teacher_cut),
        "bits": np.array(how.bits),
        "first_step": np.array(first_step),
        "student_rows": student_VD[ids_R].astype(np.float16),
    }
    for name in splitting.parts(studio.student).front(how.cut):
        arrays[f"student/{name}"] = state.student[name].astype(np.float16)
    if split.labels == "kept":
        arrays["head"] = _head(session).astype(np.float16)
    if studio.teacher is not None and device not in state.holders and split.tables == "rows":
        arrays["teacher_rows"] = splitting.token_table(studio.teacher).detach().numpy()[ids_R].astype(np.float16)
    return arrays


def _end(session: ClusterRun) -> Steps:
    """What devices have learnt."""
    split = session.method.split
    jobs = []
    for device, seat in session.seats.items():
        ids_R = rows_present(session.state.present[device], split.student.vocabulary)
        spec: dict[str, ArraySpec] = {}
        if split.train_rows:
            spec |= {
                "rows": ArraySpec("<f2", (len(ids_R), split.student.width)),
                "seen": ArraySpec("<i4", (len(ids_R),)),
            }
        if split.labels == "kept" and split.train_rows:
            spec["head"] = ArraySpec("<f2", _head(session).shape)
        for name in splitting.parts(session.studio.student).front(seat.how.cut):
            spec[f"student/{name}"] = ArraySpec("<f2", session.state.student[name].shape)
        jobs.append(session.job(device, "end", "end", session.due.pop(device, {}), spec))
    results = (yield Wave(jobs=jobs)) if jobs else []
    return session.keep_present(results)


def _head(session: ClusterRun) -> np.ndarray:
    """The output table, which adapters leave as it came."""
    name = splitting.parts(session.studio.student, trainable=False).head[0]
    learnt = session.state.student.get(name)
    return splitting.get_weights(session.studio.student, [name])[name] if learnt is None else learnt


def _plausible(lengths_K: np.ndarray, context: int) -> bool:
    return bool(len(lengths_K) and lengths_K.min() >= 1 and lengths_K.max() <= context)
