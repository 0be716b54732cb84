"""A user's own net, of which nothing is known but what it does: whether it can be trained, sent and
put together again.

Axes: C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .forward import logits
from .isolation import seeded
from .weights import put, to_arrays

TRAVELS = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
RESERVED = frozenset({"samples", "labels"})
"""Names of what devices send beside their weights."""


def materialised(net: nn.Module, example: Callable[[int], Tensor]) -> nn.Module:
    """The net, whose lazy layers, if any, have seen one pass and know their sizes."""
    if any(nn.parameter.is_lazy(one) for one in (*net.parameters(), *net.buffers())):
        with torch.no_grad():
            logits(net.eval(), example(2))
    return net


def as_written(net: nn.Module) -> nn.Module:
    """The net as it was before torch.compile: each copy of a compiled one would be compiled
    anew."""
    for module in list(net.modules()):
        for name, part in list(module.named_children()):
            if _as_written(part) is not part:
                module._modules[name] = _as_written(part)
    return _as_written(net)


def _as_written(part: nn.Module) -> nn.Module:
    inner = getattr(part, "_orig_mod", part)
    return inner if isinstance(inner, nn.Module) else part


def can_be_copied(net: nn.Module) -> bool:
    """Whether a deep copy is the same net.

    Slots and hooks on weights are lost on the way, weights of TorchScript become results of a
    computation, and a function that closes over the net goes on to speak of the first.
    """
    hooked = any(
        weight._backward_hooks or weight._post_accumulate_grad_hooks for weight in net.parameters()
    )
    return not hooked and not any(
        _loses(part) or _closes_over(vars(part)) for part in net.modules()
    )


def _loses(part: nn.Module) -> bool:
    return isinstance(part, torch.jit.ScriptModule) or any(
        vars(kind).get("__slots__") for kind in type(part).__mro__
    )


def _closes_over(value: object) -> bool:
    if isinstance(value, FunctionType):
        return value.__closure__ is not None
    if isinstance(value, Mapping):
        return any(_closes_over(part) for part in value.values())
    return isinstance(value, list | tuple | set) and any(_closes_over(part) for part in value)


def fault_of(net: nn.Module, example: Callable[[int], Tensor], classes: int) -> str | None:
    """Why this net cannot be a model of the fleet, or None. Raises ConfigError where running it
    fails.

    Args:
        example: gives inputs of so many samples.
    """
    fault = _fault_of_state(net)
    if fault is not None:
        return fault
    names = set(net.state_dict())
    with seeded(0):
        for samples, training in ((2, True), (1, False), (3, False)):
            fault = _fault_of_output(net.train(training), example(samples), classes)
            if fault is not None:
                return fault
        late = min(set(net.state_dict()) - names, default=None)
        if late is not None:
            return (
                f"it makes the weight {late} as it runs; make it in __init__, or let it be a lazy "
                "layer"
            )
        return _fault_of_gradients(net.train(), example(2))


def _fault_of_output(net: nn.Module, x_B: Tensor, classes: int) -> str | None:
    samples = len(x_B)
    output = logits(net, x_B)
    if output.shape != (samples, classes):
        given = {1: "one sample gives", 2: "two samples give", 3: "three samples give"}[samples]
        return f"{given} {tuple(output.shape)}, not ({samples}, {classes})"
    if not output.isfinite().all():
        return "it says NaN or infinity of ordinary samples"
    return None


def _fault_of_state(net: nn.Module) -> str | None:
    if not any(True for _ in net.parameters()):
        return "it has no weights"
    trained = [name for name, weight in net.named_parameters() if weight.requires_grad]
    if not trained:
        return "none of its weights is to be trained: requires_grad is False everywhere"
    return _fault_of_arrays(net.state_dict(), trained) or _fault_of_putting(net)


def _fault_of_arrays(state: Mapping[str, Tensor], trained: Sequence[str]) -> str | None:
    odd = next((name for name, tensor in state.items() if not _travels(tensor)), None)
    if odd is not None:
        return (
            f"{odd} is {_kind(state[odd])}; weights and buffers that travel are plain real "
            "numbers, integers or bools"
        )
    taken = RESERVED.intersection(state)
    if taken:
        return (
            f"a weight is called {min(taken)}, as is what devices send beside their weights; "
            "rename it"
        )
    missing = next((name for name in trained if name not in state), None)
    if missing is not None:
        return f"its state_dict lacks the weight {missing}"
    endless = next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)
    if endless is not None:
        return (
            f"{endless} holds NaN or infinity, which cannot travel; register such a buffer with "
            "persistent=False"
        )
    return None


def _fault_of_putting(net: nn.Module) -> str | None:
    """Other weights must come out as they were put in."""
    before = to_arrays(net)
    moved = {name: -array if array.dtype.kind == "f" else array for name, array in before.items()}
    after = to_arrays(put(net, moved))
    lost = next(
        (name for name, array in moved.items() if not np.array_equal(after[name], array)), None
    )
    put(net, before)
    return (
        None
        if lost is None
        else f"{lost} does not keep what is copied into its place in the state_dict"
    )


def _fault_of_gradients(net: nn.Module, x_B: Tensor) -> str | None:
    loss = F.cross_entropy(logits(net, x_B), torch.zeros(len(x_B), dtype=torch.int64))
    if not loss.requires_grad:
        return "its output does not depend on weights that are to be trained"
    loss.backward()  # type: ignore[no-untyped-call]
    sparse = next((name for name, weight in net.named_parameters() if _sparse(weight)), None)
    if sparse is not None:
        return (
            f"the gradient of {sparse} is sparse, which our optimisers do not take; build its "
            "layer with sparse=False"
        )
    return None


def _sparse(weight: nn.Parameter) -> bool:
    return weight.grad is not None and weight.grad.layout != torch.strided


def _travels(tensor: object) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.dtype in TRAVELS
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
    )


def _kind(tensor: object) -> str:
    if not isinstance(tensor, Tensor):
        return f"a {type(tensor).__name__}"
    return f"{tensor.dtype} ({tensor.layout}, on {tensor.device})"
