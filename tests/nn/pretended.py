"""A device that is not there: it computes on the processor, and takes no tensor from elsewhere.

Its tensors wrap tensors of the processor and say that they are on `acc`. An operation that is given
tensors of both fails, as on an accelerator, and so does reading one as an array. What is computed
is what the processor computes, to the bit. Torch must know of the device before its first backward
pass, so that tests with it run in a process of their own.
"""

from functools import cache

import torch
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "acc"
MOVING = (torch.ops.aten._to_copy, torch.ops.aten.copy_)


class Module(_DummyBackendModule):
    """What torch asks a backend for."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


@cache
def registered():
    """The device, which torch knows from now on."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    return torch.device(NAME, 0)


class There(torch.Tensor):
    """A tensor on the device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=registered(),
        )

    def __init__(self, inner):
        self.inner = inner

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other):
        self.inner = other.inner  # its memory is theirs from now on

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return carried_out(operation, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """Inside, tensors can be made on the device and moved to it."""

    def __init__(self):
        super().__init__()
        registered()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return carried_out(operation, args, kwargs or {})


def carried_out(operation, args, kwargs):
    """The operation on the processor; its results are on the device if its tensors are."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [isinstance(tensor, There) for tensor in tensors]
    moving = operation.overloadpacket in MOVING
    strangers = [t for t, is_there in zip(tensors, there, strict=True) if not is_there and t.dim()]
    if any(there) and strangers and not moving:
        raise RuntimeError(f"{operation}: tensors of two devices")
    wanted = kwargs.get("device")
    goes_there = any(there) if wanted is None else torch.device(wanted).type == NAME
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with _disable_current_modes():
        out = operation(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    if operation.overloadpacket is torch.ops.aten.copy_:
        return args[0]
    if not goes_there:
        return out
    out = tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(operation, args, kwargs, out) if any(there) else out


def unwrapped(leaf):
    return leaf.inner if isinstance(leaf, There) else leaf
