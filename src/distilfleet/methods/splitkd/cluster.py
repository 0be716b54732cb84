"""One cluster's part of a round: rows and fronts go out, steps in parallel, what was learnt comes
back.

Axes: K samples of a device in the round, R rows of a device, V vocabulary, D width of the student.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...core.types import ArraySpec, Assignment, DeviceId, Plan, Reply, Wave
from ...nn import split as splitting
from ...nn.place import as_array
from .merge import merged
from .rows import rows_present
from .settings import DIGEST_BYTES, SplitSettings
from .steps import ClusterRun, Participant, Steps


def train_cluster(run: ClusterRun, plan: Plan, devices: Sequence[DeviceId]) -> Steps:
    """The state after this cluster's steps. Devices that do not answer are left out from then
    on."""
    yield from _open(run, devices)
    yield from _begin(run, plan, devices)
    if not run.participants:
        return run.state
    run.modules.begin(run.state.student, run.state.moments, run.settings.split.lr, _shared(run))
    run.state = replace(run.state, student=run.modules.weights(), moments={})
    yield from run.train()
    replies = yield from _end(run)
    return replace(
        run.state,
        student=merged(run.modules, run.state, replies, run.cuts, run.tokens),
        moments=run.modules.moments(),
        signals=run.cache.stored(),
        tokens=run.state.tokens + sum(run.tokens.values()),
        uploads=run.state.uploads + run.uploads,
    )


def _shared(run: ClusterRun) -> list[str]:
    """Names of the weights, other than rows, that some device of the cluster trains too."""
    parts = splitting.parts(run.modules.student)
    deepest = max(run.cuts.values(), default=0)
    return [*parts.front(deepest), *(parts.head if run.settings.split.labels == "kept" else ())]


def _open(run: ClusterRun, devices: Sequence[DeviceId]) -> Steps:
    """Ask new devices which rows occur there."""
    vocabulary = run.settings.split.student.vocabulary
    spec = {"present": ArraySpec("|u1", (-(-vocabulary // 8),))}
    new = [device for device in devices if device not in run.state.present]
    if not new:
        return
    results = yield Wave(jobs=[run.job(device, "open", "open", {}, spec) for device in new])
    replies = [result for result in results if isinstance(result, Reply)]
    present = {reply.device: np.array(reply.arrays["present"]) for reply in replies}
    run.state = replace(run.state, present={**run.state.present, **present})


def _begin(run: ClusterRun, plan: Plan, devices: Sequence[DeviceId]) -> Steps:
    """Send rows and fronts; learn which samples will come."""
    split = run.settings.split
    otherwise = Assignment(cut=split.cut, bits=split.bits)
    known = [device for device in devices if device in run.state.present]
    assignments = {device: plan.assignments.get(device) or otherwise for device in known}
    samples = split.steps * split.batch
    spec = {
        "digests": ArraySpec("|u1", (samples, DIGEST_BYTES)),
        "lengths": ArraySpec("<i4", (samples,)),
    }
    jobs = []
    for device, assignment in assignments.items():
        arrays = _sent(run, device, assignment)
        jobs.append(run.job(device, "begin", "begin", arrays, spec))
    results = (yield Wave(jobs=jobs)) if jobs else []
    for result in results:
        if isinstance(result, Reply) and _plausible(result.arrays["lengths"], split.context):
            participant = _participant(result, assignments[result.device])
            run.participants[result.device] = participant
    run.cuts = {device: one.assignment.cut for device, one in run.participants.items()}
    if run.settings.has_teacher:
        holders = dict.fromkeys((*run.state.holders, *run.participants))
        run.state = replace(run.state, holders=tuple(holders))


def _participant(reply: Reply, assignment: Assignment) -> Participant:
    return Participant(
        device=reply.device,
        assignment=assignment,
        digests_K=np.array(reply.arrays["digests"]),
        lengths_K=np.array(reply.arrays["lengths"]),
    )


def _sent(run: ClusterRun, device: DeviceId, assignment: Assignment) -> dict[str, np.ndarray]:
    """Of the student: rows and layers before the cut; of the teacher the same, if the device has no
    rows yet."""
    split = run.settings.split
    state = run.state
    modules = run.modules
    ids_R = rows_present(state.present[device], split.student.vocabulary)
    arrays = _numbers(assignment, first_step=(state.round - 1) * split.steps)
    arrays["student_rows"] = _student_rows(run)[ids_R].astype(np.float16)
    for name in splitting.parts(modules.student).front(assignment.cut):
        arrays[f"student/{name}"] = state.student[name].astype(np.float16)
    if split.labels == "kept":
        arrays["head"] = _head(run).astype(np.float16)
    if modules.teacher is not None and device not in state.holders and split.tables == "rows":
        table_VE = as_array(splitting.token_table(modules.teacher))
        arrays["teacher_rows"] = table_VE[ids_R].astype(np.float16)
    return arrays


def _numbers(assignment: Assignment, *, first_step: int) -> dict[str, np.ndarray]:
    return {
        "cut": np.array(assignment.cut),
        "teacher_cut": np.array(assignment.teacher_cut),
        "bits": np.array(assignment.bits),
        "first_step": np.array(first_step),
    }


def _student_rows(run: ClusterRun) -> np.ndarray:
    """The student's whole embedding table, [V, D]; adapters leave it as it came."""
    name = splitting.parts(run.modules.student, trainable=False).embedding[0]
    learnt_VD = run.state.student.get(name)
    if learnt_VD is not None:
        return learnt_VD
    return as_array(splitting.token_table(run.modules.student))


def _end(run: ClusterRun) -> Steps:
    """What devices have learnt."""
    jobs = [
        run.job(device, "end", "end", run.due.pop(device, {}), _learnt_spec(run, participant))
        for device, participant in run.participants.items()
    ]
    results = (yield Wave(jobs=jobs)) if jobs else []
    return run.keep_present(results)


def _learnt_spec(run: ClusterRun, participant: Participant) -> dict[str, ArraySpec]:
    """What a device's answer to the job `end` looks like: all that is trained there."""
    spec: dict[str, ArraySpec] = {}
    if run.settings.split.train_rows:
        spec |= _rows_spec(run.settings.split, run.state.present[participant.device])
    if run.settings.split.train_rows and run.settings.split.labels == "kept":
        spec["head"] = ArraySpec("<f2", _head(run).shape)
    for name in splitting.parts(run.modules.student).front(participant.assignment.cut):
        spec[f"student/{name}"] = ArraySpec("<f2", run.state.student[name].shape)
    return spec


def _rows_spec(split: SplitSettings, present: np.ndarray) -> dict[str, ArraySpec]:
    count = len(rows_present(present, split.student.vocabulary))
    return {
        "rows": ArraySpec("<f2", (count, split.student.width)),
        "seen": ArraySpec("<i4", (count,)),
    }


def _head(run: ClusterRun) -> np.ndarray:
    """The output table, which adapters leave as it came."""
    name = splitting.parts(run.modules.student, trainable=False).head[0]
    learnt = run.state.student.get(name)
    return splitting.get_weights(run.modules.student, [name])[name] if learnt is None else learnt


def _plausible(lengths_K: np.ndarray, context: int) -> bool:
    return bool(len(lengths_K) and lengths_K.min() >= 1 and lengths_K.max() <= context)
