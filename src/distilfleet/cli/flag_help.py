"""The help of a flag: the docstring of its field, as one paragraph.

tyro ends a line of help wherever the source of the docstring ends one, so it is handed the
docstrings with their lines joined.
"""

import ast
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import getsource
from itertools import pairwise
from textwrap import dedent
from typing import Any, get_type_hints

from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)


def whole_paragraphs() -> ConstructorRegistry:
    """What has tyro print them; a context manager."""
    registry = ConstructorRegistry()
    registry.struct_rule(_documented)
    return registry


def _documented(info: StructTypeInfo) -> StructConstructorSpec | None:
    if not is_dataclass(info.type):
        return None
    hints = get_type_hints(info.type, include_extras=True)
    paragraphs = {
        name: paragraph for base in info.type.__mro__[::-1] for name, paragraph in _docs(base)
    }
    flags = [
        StructFieldSpec(
            name=field.name,
            type=hints[field.name],
            default=_default(field, info.default),
            helptext=paragraphs.get(field.name),
        )
        for field in fields(info.type)
    ]
    return StructConstructorSpec(instantiate=info.type, fields=tuple(flags))


def _docs(kind: type) -> Iterator[tuple[str, str]]:
    """Fields of a dataclass's own and their docstrings, each in one line."""
    if not is_dataclass(kind):
        return
    [definition] = ast.parse(dedent(getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    for field, remark in pairwise(definition.body):
        match field, remark:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())


def _default(field: Field[Any], outer: Any) -> Any:
    """The value of a field in the default of its dataclass, or its own; tyro's mark for none."""
    if is_dataclass(outer):
        return getattr(outer, field.name)
    if field.default is not MISSING:
        return field.default
    return MISSING_NONPROP if field.default_factory is MISSING else field.default_factory()
