"""Rules of the whole project that no linter knows: functions over source text, each shown to catch
a planted fault."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from symtable import symtable

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "distilfleet"
SOURCES = sorted(PACKAGE.rglob("*.py"))

UNITS = [
    "s",
    "j",
    "w",
    "hz",
    "bps",
    "bytes",
    "flops",
    "flops_per_s",
    "bytes_per_s",
    "m",
    "db",
    "dbm",
    "nats",
]
DIMENSIONLESS = frozenset(
    [
        "accuracy",
        "alpha",
        "anchor",
        "difference",
        "kept",
        "least",
        "beta",
        "bound",
        "cost",
        "count",
        "decay",
        "efficiency",
        "ema",
        "epsilon",
        "exponent",
        "gap",
        "holdout",
        "keep",
        "loss",
        "lr",
        "momentum",
        "mu",
        "norm",
        "saved",
        "scale",
        "share",
        "temperature",
        "weight",
        "width",
        "slowdown",
    ]
)
"""Last words of names that have no unit: shares, exponents, rates per step, counts of channels,
nats of a loss."""
AXIS_WORDS = frozenset(
    ["deviation", "high", "low", "mean", "measured", "most", "predicted", "step", "value"]
)
"""Allowed in the report alone: numbers on an axis or in a cell, whose unit its label says."""
UNIT_IS_AN_ARGUMENT = frozenset(["_scaled.value"])

BANNED_MODULES = frozenset(
    ["pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"]
)
BANNED_NAMES = frozenset(
    [
        "torch.load",
        "torch.save",
        "torch.jit.load",
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "eval",
        "exec",
        "builtins.eval",
        "builtins.exec",
    ]
)
TYPED_DECODERS = frozenset(
    f"msgspec.{codec}.{name}"
    for codec in ("msgpack", "json", "toml", "yaml")
    for name in ("decode", "Decoder")
)
UNTYPED = frozenset({"Any", "typing.Any", "object"})

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|home|work|Users)/\w|[A-Z]:\\Users\\")
INDEX_HOST = re.compile(
    r"(?:pypi|pythonhosted|download\.pytorch)\.org|index[-_]url|artifact[o]ry|dev[p]i", re.I
)

Check = Callable[[str], list[str]]


def everywhere(check: Check, paths: Iterable[Path] = SOURCES) -> list[str]:
    """What `check` finds in these files, each with where it was found."""
    return [
        f"{path.relative_to(ROOT)}: {found}"
        for path in paths
        for found in check(path.read_text(encoding="utf-8"))
    ]


# --- nothing that can execute ---------------------------------------------------------------------


def banned(source: str) -> list[str]:
    """Unsafe modules and functions, whatever the file calls them."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    imports = _imports(tree)
    found = [
        (line, name)
        for line, name in imports
        if name.split(".")[0] in BANNED_MODULES or name in BANNED_NAMES
    ]
    for node, name in _references(tree, aliases):
        call = calls.get(node)
        if name in BANNED_NAMES or _loads_objects(name, call) or _untyped(name, call, aliases):
            found.append((node.lineno, name))
    return [f"line {line}: {name}" for line, name in sorted(set(found))]


def _loads_objects(name: str, call: ast.Call | None) -> bool:
    if name != "numpy.load":
        return False
    allowed = _keyword(call, "allow_pickle")
    return not (isinstance(allowed, ast.Constant) and allowed.value is False)


def _untyped(name: str, call: ast.Call | None, aliases: dict[str, str]) -> bool:
    if name not in TYPED_DECODERS or call is None:
        return name in TYPED_DECODERS
    positional = call.args[0] if call.args and name.endswith("Decoder") else None
    wanted = _keyword(call, "type") or positional
    return wanted is None or _dotted(wanted, aliases) in UNTYPED


def _keyword(call: ast.Call | None, name: str) -> ast.expr | None:
    return next(
        (keyword.value for keyword in (call.keywords if call else ()) if keyword.arg == name), None
    )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local name -> full name, for what the file imports."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def _references(tree: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node, aliases)):
            yield node, name


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    inner = _dotted(node.value, aliases) if isinstance(node, ast.Attribute) else None
    return f"{inner}.{node.attr}" if inner else None


def test_nothing_in_the_package_can_execute_what_it_reads():
    assert everywhere(banned) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import joblib.memory",
        "from shelve import open",
        "def f():\n    import dill as d",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.save(model, path)",
        "from torch import load",
        "from torch import load as fetch\nfetch(path)",
        "import torch\nfetch = torch.load",
        "import yaml\nyaml.load(text)",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "import builtins\nbuiltins.exec(text)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
        "from numpy import load\nload(path)",
        "import msgspec\nmsgspec.msgpack.decode(data)",
        "import msgspec\nmsgspec.msgpack.Decoder().decode(data)",
        "from typing import Any\nimport msgspec\nmsgspec.json.Decoder(Any)",
        "from msgspec import msgpack\nmsgpack.decode(data, strict=False)",
        "from msgspec.json import decode as read\nread(data)",
    ],
)
def test_planted_dangers_are_found(planted):
    assert len(banned(planted)) >= 1


def test_harmless_namesakes_are_left_alone():
    harmless = """
import json, re
import msgspec, numpy as np, yaml
from safetensors.numpy import load, save
from .pack import load_all
model.eval()
re.compile("x")
np.load(path, allow_pickle=False)
yaml.safe_load(text)
json.loads(text)
load(data)
msgspec.msgpack.decode(data, type=Head)
msgspec.msgpack.Decoder(Head).decode(data)
msgspec.json.Decoder(type=list[int])
"""
    assert banned(harmless) == []


# --- units ----------------------------------------------------------------------------------------


def without_unit(source: str, words: frozenset[str] = DIMENSIONLESS) -> list[str]:
    """Parameters and fields annotated as a float whose name ends neither in a unit nor in one of
    `words`."""
    return [
        f"line {item.lineno}: {owner}.{name}"
        for owner, name, item in _annotated(ast.parse(source))
        if _is_float(item.annotation)
        and not _says(name, words)
        and f"{owner}.{name}" not in UNIT_IS_AN_ARGUMENT
    ]


def _annotated(tree: ast.AST) -> Iterator[tuple[str, str, ast.arg | ast.AnnAssign]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            yield from ((node.name, argument.arg, argument) for argument in every)
        elif isinstance(node, ast.ClassDef):
            fields = (item for item in node.body if isinstance(item, ast.AnnAssign))
            yield from (
                (node.name, item.target.id, item)
                for item in fields
                if isinstance(item.target, ast.Name)
            )


def _is_float(annotation: ast.expr | None) -> bool:
    return annotation is not None and set(ast.unparse(annotation).split(" | ")) in (
        {"float"},
        {"float", "None"},
    )


def _says(name: str, words: frozenset[str]) -> bool:
    return any(f"_{name}".endswith(f"_{ending}") for ending in (*UNITS, *words))


def in_report(source: str) -> list[str]:
    return without_unit(source, DIMENSIONLESS | AXIS_WORDS)


def test_every_float_says_its_unit():
    report = [path for path in SOURCES if path.is_relative_to(PACKAGE / "report")]
    assert everywhere(without_unit, [path for path in SOURCES if path not in report]) == []
    assert everywhere(in_report, report) == []


@pytest.mark.parametrize(
    "planted",
    [
        "def wait(timeout: float): ...",
        "def wait(*, delay_ms: float): ...",
        "async def wait(timeout: float | None = None): ...",
        "class Link:\n    rate: float",
        "class Link:\n    rate_mbps: None | float = None",
        "class Link:\n    def occupy(self, bytess: float): ...",
    ],
)
def test_a_planted_float_without_a_unit_is_found(planted):
    assert len(without_unit(planted)) == 1


def test_units_counts_and_arrays_are_left_alone():
    harmless = """
class Load:
    flops: float
    offline_share: float
    rounds: int
    speed_flops_per_s: float | None = None
    def wait(self, until_s: float, alpha: float, lengths: np.ndarray, name: str) -> float: ...
    def tell(self, untyped): ...
"""
    assert without_unit(harmless) == []


def test_the_list_of_dimensionless_words_holds_no_unit():
    assert not (DIMENSIONLESS | AXIS_WORDS) & set(UNITS)


def test_a_bare_value_is_for_the_report_alone():
    assert in_report("def place(value: float): ...") == []
    assert without_unit("def place(value: float): ...") == ["line 1: place.value"]
    assert in_report("def place(delay: float): ...") == ["line 1: place.delay"]


# --- sizes ----------------------------------------------------------------------------------------


def function_sizes(source: str) -> list[int]:
    """Code lines of each function that does something, signature included, docstring and comments
    not."""
    lines = _code_lines(source)
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [_size(function, lines) for function in functions if not _is_stub(function)]


def _size(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: set[int]) -> int:
    own = set(range(function.lineno, function.end_lineno + 1))
    first = function.body[0]
    documented = range(first.lineno, first.end_lineno + 1) if _is_remark(first) else ()
    return len(own & lines - set(documented))


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(_is_remark(statement) for statement in function.body)


def _is_remark(statement: ast.stmt) -> bool:
    """A docstring or an ellipsis."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _code_lines(source: str) -> set[int]:
    blank = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spans = (range(token.start[0], token.end[0] + 1) for token in tokens if token.type not in blank)
    return {line for span in spans for line in span}


def over_budget(sizes: list[int]) -> list[str]:
    """Functions are small: median under 8 code lines, nine in ten under 20."""
    measured = {"median": (np.median(sizes), 8), "p90": (np.percentile(sizes, 90), 20)}
    return [
        f"{name} is {got:g} code lines, under {most} expected"
        for name, (got, most) in measured.items()
        if got >= most
    ]


def test_functions_are_small():
    assert (
        over_budget(
            [size for path in SOURCES for size in function_sizes(path.read_text(encoding="utf-8"))]
        )
        == []
    )


def test_sizes_count_code_alone():
    planted = '''
@decorated
def f(
    x,
):
    """Docstring
    of two lines."""
    # comment

    y = """text
    of two lines"""
    return y  # remark

def stub(self): ...
def documented_stub(self):
    """Only words."""
    ...
'''
    assert function_sizes(planted) == [6]


def test_bloat_is_found():
    assert over_budget([3] * 10) == []
    assert over_budget([9] * 10) == ["median is 9 code lines, under 8 expected"]
    assert over_budget([3] * 8 + [40] * 2) == ["p90 is 40 code lines, under 20 expected"]


# --- density --------------------------------------------------------------------------------------

GRAMMAR = (ast.expr_context, ast.operator, ast.cmpop, ast.unaryop, ast.boolop)
"""Nodes that come with others and say nothing of their own."""
MOST_NODES = {"median": 34, "p90": 92}
"""Nodes of a function. Lines can be packed; nodes cannot. These are the values reached: to be
lowered, never raised."""
MOST_NODES_PER_STATEMENT = 9.4
MOST_PAIRED_ASSIGNMENTS = 1
"""Statements `a, b = x, y` in a thousand lines."""


def density(sources: Iterable[str]) -> dict[str, float]:
    """Nodes of functions, median and nine in ten, nodes of a statement, and paired assignments in
    1,000 lines."""
    nodes, statements, paired, lines = [], 0, 0, 0
    for source in sources:
        lines += source.count("\n")
        for node in ast.walk(ast.parse(source)):
            paired += _is_paired(node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = [part for statement in _body(node) for part in ast.walk(statement)]
                nodes.append(sum(not isinstance(part, GRAMMAR) for part in inside))
                statements += sum(isinstance(part, ast.stmt) for part in inside)
    return {
        "median": float(np.median(nodes)),
        "p90": float(sorted(nodes)[int(0.9 * len(nodes))]),
        "per statement": sum(nodes) / statements,
        "paired": 1000 * paired / lines,
    }


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """Without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(
        getattr(first.value, "value", None), str
    )
    return function.body[1:] if documented else function.body


def _is_paired(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and all(
        isinstance(side, ast.Tuple) for side in (node.targets[0], node.value)
    )


def bundles(source: str) -> list[str]:
    """Parameters that are a tuple of a fixed number of things, which a dataclass would name; a
    shape is one thing."""
    tree = ast.parse(source)
    functions = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [
        f"line {function.lineno}: {function.name}({argument.arg})"
        for function in functions
        for argument in (*function.args.args, *function.args.kwonlyargs)
        if _is_bundle(argument.annotation)
    ]


def _is_bundle(annotation: ast.expr | None) -> bool:
    if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) != "tuple":
        return False
    parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
    kinds = {ast.unparse(part) for part in parts}
    return len(parts) > 1 and "..." not in kinds and kinds != {"int"}


def test_functions_are_not_packed():
    measured = density(path.read_text(encoding="utf-8") for path in SOURCES)
    assert measured["median"] <= MOST_NODES["median"]
    assert measured["p90"] <= MOST_NODES["p90"]
    assert measured["per statement"] <= MOST_NODES_PER_STATEMENT
    assert measured["paired"] <= MOST_PAIRED_ASSIGNMENTS


def test_no_parameter_bundles_things_in_a_tuple():
    assert everywhere(bundles) == []


def test_packed_lines_are_counted_by_what_is_in_them():
    plain = 'def f(x):\n    """Doc."""\n    y = x + 1\n    return y\n'
    assert density([plain])["median"] == 7
    assert density([plain])["per statement"] == 3.5
    assert density(["def f(x):\n    a, b = x, 1\n"])["paired"] == 500
    assert density(["def f(x):\n    a, b = x\n"])["paired"] == 0


def test_planted_bundles_are_found():
    assert len(bundles("def f(called: tuple[int, str]): ...")) == 1
    assert len(bundles("async def f(*, called: tuple[list[int], str, int]): ...")) == 1
    assert len(bundles("def f(sent: tuple[float, float]): ...")) == 1
    assert (
        bundles("def f(a: tuple[str, ...], b: tuple[int, int], c: list[tuple[int, str]]): ...")
        == []
    )


# --- layout ---------------------------------------------------------------------------------------


def misplaced(names: Iterable[str]) -> list[str]:
    """Modules and packages that are named after nothing."""
    return [
        name
        for name in names
        if {"utils", "util", "common", "helpers", "misc"} & set(Path(name).with_suffix("").parts)
    ]


def not_empty(source: str) -> list[str]:
    return ["a package __init__ is an empty file"] if source.strip() else []


def test_no_module_is_a_drawer_for_leftovers():
    assert misplaced(str(path.relative_to(PACKAGE)) for path in SOURCES) == []
    assert misplaced(["nn/utils.py", "common/x.py", "nn/common_words.py"]) == [
        "nn/utils.py",
        "common/x.py",
    ]


def test_init_files_of_rooms_are_empty():
    assert everywhere(not_empty, sorted(PACKAGE.glob("*/**/__init__.py"))) == []
    assert not_empty("from .x import y")


HEAVY = ("torch", "transformers", "sklearn", "asyncio", "socket", "multiprocessing")


def loaded_by(statement: str) -> list[str]:
    """Heavy modules that a fresh interpreter holds after `statement`."""
    script = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()


def test_core_loads_neither_torch_nor_the_network():
    rooms = ("types", "wire", "engine", "pack", "units", "errors")
    assert loaded_by("import " + ", ".join(f"distilfleet.core.{room}" for room in rooms)) == []
    assert loaded_by("import distilfleet.cost.catalogue, distilfleet.cost.energy") == []
    assert loaded_by("import distilfleet") == [], "what it offers is imported when it is asked for"
    assert loaded_by("import asyncio") == ["asyncio", "socket"]


# --- circles --------------------------------------------------------------------------------------


def imports_of(source: str, module: str, modules: Iterable[str]) -> set[str]:
    """Those of `modules` that a file imports: when it is loaded, for types alone, or inside a
    function."""
    known = set(modules)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = _imported_from(node, module)
            found |= {
                full if (full := f"{base}.{alias.name}") in known else base for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & known) - {module}


def _imported_from(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".")[: -node.level]
    return ".".join([*package, node.module] if node.module else package)


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, if there is one."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def test_no_files_import_each_other_in_a_circle():
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in SOURCES
    }
    assert len(modules) > 200
    imports = {
        name: imports_of(path.read_text(encoding="utf-8"), name, modules)
        for name, path in modules.items()
    }
    assert circle(imports) == []


@pytest.mark.parametrize(
    "back",
    [
        "from .a import x",
        "from . import a",
        "import p.a",
        "from p import a",
        "def late():\n    from .a import x",
        "if TYPE_CHECKING:\n    from .a import X",
    ],
)
def test_a_planted_circle_is_found(back):
    planted = {"p.a": "from .q.c import y", "p.b": back, "p.q.c": "from ..b import z"}
    assert (
        len(circle({name: imports_of(source, name, planted) for name, source in planted.items()}))
        == 4
    )
    assert (
        circle(
            {name: imports_of(source, name, planted) for name, source in list(planted.items())[::2]}
        )
        == []
    )


# --- names ----------------------------------------------------------------------------------------

SHARED_NAMES = frozenset({"State", "Flags"})
"""Every method has a state and every recipe has flags; each is read beside its module's name."""


def public_classes(source: str) -> list[str]:
    named = (node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return [name for name in named if not name.startswith("_")]


def shared(classes: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names of public classes that stand in more than one file, and where."""
    places = defaultdict(list)
    for place, names in classes.items():
        for name in names:
            places[name].append(place)
    return {
        name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES
    }


def test_a_public_class_has_a_name_of_its_own():
    sources = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in SOURCES}
    assert shared({place: public_classes(source) for place, source in sources.items()}) == {}


def test_a_planted_namesake_is_found():
    planted = {
        "a.py": public_classes("class Session: ...\nclass State: ...\nclass _Own: ..."),
        "b.py": ["State"],
    }
    assert shared(planted) == {}
    assert shared(planted | {"c.py": ["Session", "_Own"]}) == {"Session": ["a.py", "c.py"]}


# --- what tests, benchmarks and examples take from the package is there ---------------------------

TAKERS = sorted(
    file for folder in ("tests", "benchmarks", "examples") for file in (ROOT / folder).rglob("*.py")
)


def file_of(module: str) -> Path | None:
    """Of a dotted name, if it is a module of the package."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


@cache
def defined(file: Path) -> frozenset[str]:
    """At the top level of a module."""
    symbols = symtable(file.read_text(encoding="utf-8"), str(file), "exec").get_symbols()
    return frozenset(one.get_name() for one in symbols if one.is_assigned() or one.is_imported())


def gone(source: str) -> Iterator[str]:
    """Names of the package that are imported, or taken from a module that is, and that it has
    not."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == PACKAGE.name
        ):
            file = file_of(node.module)
            for alias in node.names:
                if file is None or alias.name not in defined(file):
                    module = file_of(f"{node.module}.{alias.name}")
                    yield from [f"{node.module}.{alias.name}"] if module is None else []
                    modules[alias.asname or alias.name] = module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            file = None if node.attr.startswith("__") else modules.get(node.value.id)
            yield from (
                [f"{node.value.id}.{node.attr}"]
                if file is not None and node.attr not in defined(file)
                else []
            )


def test_what_others_take_from_the_package_is_there():
    found = {
        str(file.relative_to(ROOT)): [*gone(file.read_text(encoding="utf-8"))] for file in TAKERS
    }
    assert {file: names for file, names in found.items() if names} == {}


def test_planted_names_that_are_gone_are_found():
    assert [*gone("from distilfleet.net import nothing, wave\nwave.Collecting, wave.Nothing")] == [
        "distilfleet.net.nothing",
        "wave.Nothing",
    ]
    assert [*gone("from distilfleet.nowhere import x\nimport os\nos.nothing")] == [
        "distilfleet.nowhere.x"
    ]


# --- what a stranger should not read --------------------------------------------------------------


def of_one_machine(text: str) -> list[str]:
    """Absolute paths of somebody's machine and hosts of package indexes."""
    return [
        f"line {number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in (*MACHINE_PATH.finditer(line), *INDEX_HOST.finditer(line))
    ]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def test_no_tracked_file_names_a_machine_or_an_index():
    assert everywhere(of_one_machine, tracked()) == []


def test_planted_paths_and_hosts_are_found():
    for place in ("root", "home", "work", "Users"):
        assert of_one_machine(f"see '/{place}/somebody/x.py'") == [f"line 1: /{place}/s"]
    for host in ("pypi" + ".org/simple", "--extra-index" + "-url x", "files.python" + "hosted.org"):
        assert len(of_one_machine(f"fine\npip install {host}")) == 1
    assert of_one_machine("src/home/x, ~/work/runs, a/work/b and https://example.com/root/") == []


CROSSING = PACKAGE / "nn" / "place.py"
CROSSINGS = frozenset(["numpy", "from_numpy", "as_tensor", "asarray", "frombuffer"])
"""What turns tensors into arrays and back; of those that numpy has too, torch's alone."""


def crossings(source: str) -> list[str]:
    """Calls that cross between numpy and torch, such as `tensor.numpy()`."""
    tree = ast.parse(source)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    attributes = [
        call for call in calls if isinstance(call, ast.Attribute) and call.attr in CROSSINGS
    ]
    return [
        ast.unparse(one)
        for one in attributes
        if one.attr == "numpy" or ast.unparse(one).startswith("torch.")
    ]


def test_arrays_become_tensors_and_tensors_arrays_in_one_file():
    assert everywhere(crossings, [file for file in SOURCES if file != CROSSING]) == []
    assert len(crossings(CROSSING.read_text())) == 3


def test_planted_crossings_are_found():
    lines = "a = x.detach().numpy()", "b = torch.from_numpy(a)", "c = np.asarray(b)"
    planted = "\n".join([*lines, "d = torch.as_tensor(a)"])
    assert crossings(planted) == ["x.detach().numpy", "torch.from_numpy", "torch.as_tensor"]
