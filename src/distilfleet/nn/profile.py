"""What a model takes, traced from the model itself without its weights' memory: on torch's meta
device, or, of a user's own net, as it was built.

FLOPs count two per multiply-accumulate of matrix products and convolutions; everything elementwise
is left out, as in the published counts. Two samples are traced and the figures halved, because
BatchNorm refuses to train on one.

Axes: N samples, K classes.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..core.types import LayerProfile
from .forward import logits, weight_dtype
from .place import Place
from .zoo import Model

SAMPLES = 2
TRAINED_COPIES = 2
"""Gradients and momentum, beside weights, all fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one model takes; figures of compute and activations are for one sample."""

    parameters: int
    weight_bytes: int
    """Parameters and buffers as built: fp32."""
    trained_bytes: int
    """Those of them that training changes; where nothing is frozen, all."""
    forward_flops: float
    train_flops: float
    """Forward and backward."""
    activation_bytes: int
    """Kept from the forward pass for the backward pass, the input among them."""
    layers: tuple[LayerProfile, ...]
    """Leaf modules with weights, in the order in which they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What a device saves that keeps the small model instead of the large one (KOALA's headline
    figures)."""

    small: str
    large: str
    storage_saved: float
    """Fraction of the large model's parameters; buffers are not counted, as in the paper."""
    flops_saved: float
    """Fraction of the large model's forward pass."""
    small_parameters: int
    large_parameters: int
    small_forward_flops: float
    large_forward_flops: float


@lru_cache(maxsize=256)
def profile(model: Model) -> Profile:
    """Facts of the model, found by one forward and one backward pass."""
    model = replace(model, place=Place())
    if model.is_own or model.is_pretrained:
        return _of_own(model)
    with torch.device("meta"):
        return _traced(model.build(seed=0), model.example(SAMPLES).to("meta"))


def _of_own(model: Model) -> Profile:
    """The profile of a user's net as it was built.

    It is traced with weights and inputs that take no memory, or, where its Python wants to see
    numbers, by a pass of two real samples.
    """
    net = model.build(seed=0)
    inputs_N = model.example(SAMPLES)
    if inputs_N.is_floating_point():
        inputs_N = inputs_N.to(weight_dtype(net))
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                return _traced(_without_memory(net, mode), mode.from_tensor(inputs_N))
        except Exception:  # whatever a user's net makes of tensors without numbers
            return _traced_or_guessed(net, inputs_N)


def _traced_or_guessed(net: nn.Module, inputs_N: torch.Tensor) -> Profile:
    """The profile by a pass, or, of a net that cannot be watched (one that differentiates as it
    runs), by its weights.

    Each weight then counts as used once for each sample, and twice as often on the way back.
    """
    try:
        return _traced(net, inputs_N)
    except Exception:
        # whatever watching a user's net leads to; that it runs was seen when it was loaded
        count = sum(weight.numel() for weight in net.parameters())
    return Profile(
        parameters=count,
        weight_bytes=_size_bytes([*net.parameters(), *net.buffers()]),
        trained_bytes=_trained_bytes(net),
        forward_flops=2.0 * count,
        train_flops=6.0 * count,
        activation_bytes=_size_bytes([*net.parameters()]),
        layers=(),
    )


def _without_memory(net: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy whose weights and buffers have no numbers."""
    tensors = [*net.parameters(), *net.buffers()]
    return copy.deepcopy(net, {id(tensor): mode.from_tensor(tensor) for tensor in tensors})


def _traced(net: nn.Module, inputs_N: torch.Tensor) -> Profile:
    kept: list[torch.Tensor] = []
    hidden_bytes: list[int] = []
    forward = _counter(hidden_bytes)
    backward = _counter([])
    with forward, saved_tensors_hooks(_keep_in(kept), _as_kept), _watched(net, forward) as layers:
        logits_NK = logits(net, inputs_N)
    with backward:
        logits_NK.sum().backward()  # type: ignore[no-untyped-call]
    forward_flops = forward.get_total_flops() / SAMPLES
    return Profile(
        parameters=sum(weight.numel() for weight in net.parameters()),
        weight_bytes=_size_bytes([*net.parameters(), *net.buffers()]),
        trained_bytes=_trained_bytes(net),
        forward_flops=forward_flops,
        train_flops=forward_flops + backward.get_total_flops() / SAMPLES,
        activation_bytes=_activation_bytes(kept, net) + sum(hidden_bytes) // SAMPLES,
        layers=tuple(layers.values()),
    )


def training_memory_bytes(profile: Profile, batch: int) -> int:
    """Memory of one training step with momentum: weights, gradients, momentum, and activations of a
    batch."""
    copies_bytes = TRAINED_COPIES * profile.trained_bytes
    return profile.weight_bytes + copies_bytes + batch * profile.activation_bytes


def savings(large: Model, small: Model) -> Savings:
    """Storage and compute that the small model saves, computed from both models."""
    most = profile(large)
    least = profile(small)
    return Savings(
        small=small.name,
        large=large.name,
        storage_saved=1 - least.parameters / most.parameters,
        flops_saved=1 - least.forward_flops / most.forward_flops,
        small_parameters=least.parameters,
        large_parameters=most.parameters,
        small_forward_flops=least.forward_flops,
        large_forward_flops=most.forward_flops,
    )


# --- tracing --------------------------------------------------------------------------------------


def _counter(hidden_bytes: list[int]) -> FlopCounterMode:
    """Counts FLOPs, and adds to the list what operations keep for the way back that tracing does
    not see."""

    def recurrent(*facts: Any, **rest: Any) -> int:
        hidden_bytes.append(_recurrent_bytes(*facts))
        return _recurrent_flops(*facts, **rest)

    mapping = {
        torch.ops.aten.convolution_backward: _convolution_backward_flops,
        torch.ops.aten.mkldnn_rnn_layer: recurrent,
        torch.ops.aten.mkldnn_rnn_layer_backward: lambda *facts, **rest: (
            2 * _recurrent_flops(*facts, **rest)
        ),
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _convolution_backward_flops(*facts: Any, out_shape: Sequence[Any], **_rest: Any) -> int:
    """FLOPs, as many as in the forward pass, for each gradient asked for, of the input and of the
    weights.

    Stands in for torch's own formula, which forgets groups and so takes a depthwise convolution for
    a dense one. The facts are the arguments of `aten::convolution_backward`, tensors given as
    shapes.
    """
    outputs, inputs, weight, *_, transposed, _padding, _groups, wanted = facts
    positions = inputs if transposed else outputs
    each: int = 2 * positions[0] * prod(positions[2:]) * prod(weight)
    return each * (bool(wanted[0]) + bool(wanted[1]))


def _recurrent_flops(
    inputs: Any, to_gates: Any, between_gates: Any, *_rest: Any, **_more: Any
) -> int:
    """FLOPs of one layer of an LSTM on all steps, [steps, samples, features], and its two
    matrices."""
    flops: int = 2 * inputs[0] * inputs[1] * (prod(to_gates) + prod(between_gates))
    return flops


def _recurrent_bytes(inputs: Any, to_gates: Any, *_rest: Any) -> int:
    """Bytes that one layer of an LSTM keeps of all steps: gates, states and their order in memory.

    Measured of oneDNN, up to a few kB: 16 numbers for each of the layer's, 3 for each input.
    Without numbers, as a net is traced, it says none.
    """
    hidden = to_gates[0] // 4
    kept: int = 4 * inputs[0] * inputs[1] * (16 * hidden + 3 * inputs[2])
    return kept


def _keep_in(kept: list[torch.Tensor]) -> Any:
    def keep(saved: torch.Tensor) -> torch.Tensor:
        kept.append(saved)
        return saved

    return keep


def _as_kept(saved: torch.Tensor) -> torch.Tensor:
    return saved


def _activation_bytes(kept: Sequence[torch.Tensor], net: nn.Module) -> int:
    """A sample's part of the memory behind saved tensors, each counted once and weights not at
    all."""
    weights = {_memory(weight) for weight in [*net.parameters(), *net.buffers()]}
    sizes = {_memory(saved): saved.untyped_storage().nbytes() for saved in kept}
    total_bytes = sum(size for memory, size in sizes.items() if memory not in weights)
    return -(-total_bytes // SAMPLES)


def _memory(tensor: torch.Tensor) -> int:
    """Equal for views of the same memory, as long as it lives; a meta tensor has no address to
    compare."""
    memory: int = tensor.untyped_storage()._cdata
    return memory


def _size_bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _trained_bytes(net: nn.Module) -> int:
    frozen = [weight for weight in net.parameters() if not weight.requires_grad]
    if not frozen:
        return _size_bytes([*net.parameters(), *net.buffers()])
    return _size_bytes([weight for weight in net.parameters() if weight.requires_grad])


@contextmanager
def _watched(net: nn.Module, counter: FlopCounterMode) -> Iterator[dict[str, LayerProfile]]:
    """The profile of each leaf with weights, filled as the forward pass reaches it; used twice, it
    counts twice."""
    layers: dict[str, LayerProfile] = {}
    started: dict[str, int] = {}

    def start(name: str) -> Any:
        return lambda _module, _inputs: started.update({name: counter.get_total_flops()})

    def finish(name: str) -> Any:
        def record(leaf: nn.Module, _inputs: object, output: object) -> None:
            flops = (counter.get_total_flops() - started[name]) / SAMPLES
            layers[name] = _layer(name, leaf, flops, output, layers.get(name))

        return record

    leaves = [(name, module) for name, module in net.named_modules() if _is_leaf(module)]
    hooks = [leaf.register_forward_pre_hook(start(name)) for name, leaf in leaves]
    hooks += [leaf.register_forward_hook(finish(name)) for name, leaf in leaves]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _is_leaf(module: nn.Module) -> bool:
    """Has weights and no parts; TorchScript's modules have both and take no hooks."""
    takes_hooks = not isinstance(module, torch.jit.ScriptModule)
    return takes_hooks and not any(module.children()) and any(True for _ in module.parameters())


def _layer(
    name: str, leaf: nn.Module, flops: float, output: object, before: LayerProfile | None
) -> LayerProfile:
    return LayerProfile(
        name=name,
        forward_flops=flops + (before.forward_flops if before else 0.0),
        weight_bytes=_size_bytes([*leaf.parameters(), *leaf.buffers()]),
        output_bytes=_size_bytes(list(_tensors(output))) // SAMPLES,
    )


def _tensors(output: object) -> Iterator[torch.Tensor]:
    """Tensors of an output that may have several, such as a recurrent layer's."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for part in output:
            yield from _tensors(part)
