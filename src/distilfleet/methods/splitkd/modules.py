"""The server's modules: the teacher's and the student's back, their loss, and one optimiser.

Axes: B samples, T tokens, P positions of a sample that may count, N positions that do, D width of
the student, E of the teacher, V vocabulary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...core.types import Arrays, Dataset
from ...nn import split
from ...nn.adam import adam_of, resident_moments
from ...nn.forward import weight_dtype
from ...nn.fused import DenseTeacher, Teacher, fused_kd
from ...nn.losses import generalised_jsd, reverse_kl, skewed_kl, skewed_reverse_kl
from ...nn.place import as_array, borrowed, device_of, to_tensor
from ...nn.pretrain import mask_of, nats_per_token
from ...nn.resident import Resident, taken
from .choices import Divergence, Sort
from .teacher_cache import TeacherCache, signals_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smashed:
    """What one device sent of one model: distinct rows and where they stand, or activations of
    every position."""

    values: np.ndarray
    """[U, D], or [B * T, D] after a front."""
    index_BT: np.ndarray | None
    cut: int
    lengths_B: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DevicePart:
    """One device's part of a micro-batch, decoded."""

    student: Smashed
    teacher: Smashed | None
    """The teacher's part of the samples where `need_B` is; None if there are none."""
    need_B: np.ndarray
    digests_B: np.ndarray
    labels: np.ndarray | None
    """Token ids [B, T], or classes [B]; None where labels stay on the device."""


DIVERGENCES: Mapping[str, Callable[..., Tensor]] = {
    "reverse": reverse_kl,
    "jsd": generalised_jsd,
    "skewed": skewed_kl,
    "skewed-reverse": skewed_reverse_kl,
}
"""Of whole distributions; forward KL has the fused loss, and can do with a part of the
teacher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """`kd_weight` T^2 D(teacher, student) + (1 - `kd_weight`) cross-entropy, D being a
    divergence."""

    kd_weight: float = 0.5
    divergence: Divergence = "forward"
    temperature: float = 1.0
    teacher_cache: Sort = "ids"
    draws: int = 48
    """Ids drawn, or kept, per position."""


@dataclass(slots=True, kw_only=True, eq=False)
class Forwarded:
    """A micro-batch between its forward and its backward pass."""

    parts: Sequence[DevicePart]
    leaves: Sequence[Tensor]
    hidden_ND: Tensor
    owner_N: np.ndarray
    """Which part each counted position belongs to."""
    groups: Sequence[tuple[np.ndarray, Teacher | None]]
    """Positions, and what the teacher says of them."""

    def gradients(self) -> list[np.ndarray]:
        """Of each part's smashed data, a sum over positions."""
        zeros = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.leaves]
        return [as_array(gradient) for gradient in zeros]

    def hidden_of(self, part: int) -> np.ndarray:
        return np.asarray(as_array(self.hidden_ND)[self.owner_N == part])


class ServerModules:
    """Modules to work on. `begin` puts weights in; nothing else is kept from round to round."""

    def __init__(self, teacher: nn.Module | None, student: nn.Module, classes: int | None) -> None:
        self.teacher = teacher
        self.student = student
        self._classes = classes
        self._device = device_of(student)
        self._backs: dict[tuple[int, int], split.Back] = {}
        self._named = {name: p for name, p in student.named_parameters() if p.requires_grad}
        self._adam = torch.optim.Adam(list(self._named.values()))
        self.before: Mapping[str, np.ndarray] = {}
        """How weights that devices train too were when the round began."""
        self._judged: tuple[Dataset, Arrays, tuple[float, float]] | None = None

    def teachers(self, test: Dataset, weights: Arrays) -> tuple[float, float]:
        """`nats_per_token` of the teacher, whose `weights` are in place: worked out once, as it
        never changes."""
        assert self.teacher is not None
        if self._judged is None or self._judged[0] is not test or self._judged[1] is not weights:
            self._judged = test, weights, nats_per_token(self.teacher, test)
        return self._judged[2]

    # --- weights

    def begin(self, weights: Arrays, moments: Arrays, lr: float, shared: Iterable[str]) -> None:
        """Takes weights and moments over, to train them.

        Args:
            shared: names of weights that devices train too; how they were is kept in `before`.
        """
        self.before = {name: np.array(weights[name]) for name in shared if name in weights}
        split.put_weights(self.student, taken(weights, self._device))
        self._adam = adam_of(self._named, lr, moments)

    def weights(self) -> Resident:
        """The student's weights that training changes, as they are now and will be."""
        return Resident.over(self._named)

    def moments(self) -> Resident:
        """What the optimiser knows, once the round's steps are done."""
        return resident_moments(self._named, self._adam)

    def step(self, share: float) -> None:
        """One step of Adam with the gradient so far, a sum over positions that `share` makes a
        mean."""
        for parameter in self._named.values():
            if parameter.grad is not None:
                parameter.grad *= share
        self._adam.step()
        self._adam.zero_grad()

    # --- one micro-batch

    def forward(
        self, parts: Sequence[DevicePart], loss: Loss, cache: TeacherCache, rng: np.random.Generator
    ) -> Forwarded:
        """Both models up to their last hidden states; what is new of the teacher goes into the
        cache."""
        self.student.train()
        leaves = [to_tensor(part.student.values, self._device).requires_grad_() for part in parts]
        states_BTD = self._through(self.student, [part.student for part in parts], leaves)
        lengths_B = np.concatenate([part.student.lengths_B for part in parts])
        counted_BP = self._counted(lengths_B, states_BTD.shape[1])
        hidden_ND = self._read_off(states_BTD, counted_BP, lengths_B)
        owner_B = np.repeat(np.arange(len(parts)), [len(part.need_B) for part in parts])
        return Forwarded(
            parts=parts,
            leaves=leaves,
            hidden_ND=hidden_ND,
            owner_N=np.repeat(owner_B, counted_BP.sum(axis=1)),
            groups=self._teachers(parts, counted_BP, loss, cache, rng),
        )

    def backward(
        self, done: Forwarded, loss: Loss, from_devices: Sequence[np.ndarray] | None
    ) -> None:
        """Gradients into the leaves and the weights, summed over positions.

        Args:
            from_devices: where labels stay there, each part's gradient of its cross-entropy, [N,
                D].
        """
        table_VD = split.output_table(self.student)
        labels_N = self._labels(done.parts)
        total = done.hidden_ND.new_zeros(())
        for rows_N, teacher in done.groups:
            rows = borrowed(rows_N, done.hidden_ND.device)
            is_whole = labels_N is not None or teacher is None
            weight = len(rows_N) * (1.0 if is_whole else loss.kd_weight)
            labels = None if labels_N is None else labels_N[rows]
            total = total + weight * _loss(done.hidden_ND[rows], table_VD, labels, teacher, loss)
        if from_devices is not None:
            gradient_ND = to_tensor(np.concatenate(from_devices), self._device)
            gradient_ND = (1.0 - self._kd_weight(loss)) * gradient_ND
            total = total + (done.hidden_ND * gradient_ND).sum()
        total.backward()  # type: ignore[no-untyped-call]

    def _kd_weight(self, loss: Loss) -> float:
        return loss.kd_weight if self.teacher is not None else 0.0

    def _teachers(
        self,
        parts: Sequence[DevicePart],
        counted_BP: np.ndarray,
        loss: Loss,
        cache: TeacherCache,
        rng: np.random.Generator,
    ) -> list[tuple[np.ndarray, Teacher | None]]:
        if self.teacher is None:
            return [(np.arange(counted_BP.sum()), None)]
        need_B = np.concatenate([part.need_B for part in parts])
        digests_B = np.concatenate([part.digests_B for part in parts])
        need_N = np.repeat(need_B, counted_BP.sum(axis=1))
        groups: list[tuple[np.ndarray, Teacher | None]] = []
        if not need_B.all():
            table_VE = split.output_table(self.teacher).detach()
            counted_KP = counted_BP[~need_B]
            known = cache.recall(digests_B[~need_B], counted_KP, table_VE, loss.temperature)
            groups.append((np.flatnonzero(~need_N), known))
        came = [part.teacher for part in parts if part.teacher is not None]
        if came:
            counted_KP = counted_BP[need_B]
            dense = self._answer(self.teacher, came, counted_KP)
            if loss.teacher_cache != "none":
                cache.add(digests_B[need_B], _kept(dense, counted_KP, loss, rng))
            groups.append((np.flatnonzero(need_N), dense))
        return groups

    def _answer(
        self, teacher: nn.Module, smashed: Sequence[Smashed], counted_KP: np.ndarray
    ) -> DenseTeacher:
        """What the teacher says of the windows that came for it."""
        teacher.eval()
        with torch.no_grad():
            leaves = [to_tensor(one.values, self._device) for one in smashed]
            states_KTE = self._through(teacher, smashed, leaves)
            lengths_K = np.concatenate([one.lengths_B for one in smashed])
            seen_NE = self._read_off(states_KTE, counted_KP, lengths_K)
        return DenseTeacher(hidden_ND=seen_NE, table_VD=split.output_table(teacher).detach())

    def _read_off(
        self, states_BTD: Tensor, counted_BP: np.ndarray, lengths_B: np.ndarray
    ) -> Tensor:
        """Last hidden states of positions that count, or of each sample's last for a class."""
        if self._classes is None:
            return states_BTD[:, :-1][to_tensor(counted_BP, states_BTD.device)]
        rows_B = torch.arange(len(lengths_B), device=states_BTD.device)
        return states_BTD[rows_B, to_tensor(lengths_B.astype(np.int64), states_BTD.device) - 1]

    def _through(
        self, module: nn.Module, smashed: Sequence[Smashed], leaves: Sequence[Tensor]
    ) -> Tensor:
        """Last hidden states in the order of the parts, [B, T, D]; parts of one cut go together."""
        out: dict[int, Tensor] = {}
        for cut in sorted({one.cut for one in smashed}):
            chosen = [i for i, one in enumerate(smashed) if one.cut == cut]
            states = [_spread(leaves[i], smashed[i]) for i in chosen]
            lengths = [smashed[i].lengths_B for i in chosen]
            mask_BT = mask_of(np.concatenate(lengths), states[0].shape[1], self._device)
            after = self._back(module, cut)(
                torch.cat(states).to(weight_dtype(module)), mask_BT, split.positions(mask_BT)
            )
            out.update(zip(chosen, after.split(list(map(len, lengths))), strict=True))
        return torch.cat([out[i] for i in range(len(smashed))])

    def _back(self, module: nn.Module, cut: int) -> split.Back:
        key = id(module), cut
        if key not in self._backs:
            self._backs[key] = split.Back(module, cut)
        return self._backs[key]

    def _counted(self, lengths_B: np.ndarray, context: int) -> np.ndarray:
        """Positions with something to predict: all but a window's last, or one for a class. [B,
        P]."""
        if self._classes is not None:
            return np.ones((len(lengths_B), 1), bool)
        return np.arange(context - 1)[None] < lengths_B[:, None] - 1

    def _labels(self, parts: Sequence[DevicePart]) -> Tensor | None:
        labels = [part.labels for part in parts if part.labels is not None]
        if not labels:
            return None
        together = np.concatenate(labels).astype(np.int64)
        if self._classes is not None:
            return borrowed(together, self._device)
        lengths_B = np.concatenate([part.student.lengths_B for part in parts])
        return borrowed(together[:, 1:][self._counted(lengths_B, together.shape[1])], self._device)


@torch.no_grad()
def _kept(
    dense: DenseTeacher, counted_KP: np.ndarray, loss: Loss, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """What the cache is to remember of the teacher's answer."""
    return signals_of(loss.teacher_cache, dense, counted_KP, loss.temperature, loss.draws, rng)


def _loss(
    hidden_ND: Tensor,
    table_VD: Tensor,
    labels_N: Tensor | None,
    teacher: Teacher | None,
    loss: Loss,
) -> Tensor:
    """Mean over these positions; without labels the divergence alone, at full weight."""
    weights = {"kd_weight": loss.kd_weight, "temperature": loss.temperature}
    if teacher is None or loss.divergence == "forward":
        return fused_kd(hidden_ND, table_VD, labels_N=labels_N, teacher=teacher, **weights)
    assert isinstance(teacher, DenseTeacher), "other divergences are of whole distributions"
    student_NV = hidden_ND @ table_VD.T
    teacher_NV = (teacher.hidden_ND @ teacher.table_VD.T).float()
    apart = DIVERGENCES[loss.divergence](student_NV, teacher_NV, temperature=loss.temperature)
    if labels_N is None:
        return apart
    return loss.kd_weight * apart + (1 - loss.kd_weight) * fused_kd(
        hidden_ND, table_VD, labels_N=labels_N
    )


def _spread(leaf: Tensor, smashed: Smashed) -> Tensor:
    if smashed.index_BT is not None:
        return leaf[borrowed(smashed.index_BT.astype(np.int64), leaf.device)]
    return leaf.reshape(len(smashed.lengths_B), -1, leaf.shape[-1])


def trained(module: nn.Module) -> Resident:
    """The weights that training changes, where the module has them."""
    return Resident.over({name: p for name, p in module.named_parameters() if p.requires_grad})
