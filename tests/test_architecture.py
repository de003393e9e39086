"""The rooms of the house: who imports whom, what the core needs, and what is public."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import minigrad as mg
from minigrad import errors

PACKAGE = Path(mg.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
DOCS = Path(__file__).parents[1] / "docs"

FLOORS = tomllib.loads((DOCS / "architecture" / "rooms.toml").read_text("utf-8"))
ROOMS = [room for rooms in FLOORS.values() for room in rooms]  # each imports only those before it

CORE = {"minigrad", "numpy", "typing_extensions"} | sys.stdlib_module_names
OPTIONAL = {"matplotlib", "pooch", "tqdm"}  # each inside the function that needs it


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


MODULES = {module_of(file) for file in FILES}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@cache
def imports(file: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported inside a function) for all that a file imports."""
    return list(_imports(file))


def _imports(file: Path) -> Iterator[tuple[str, bool]]:
    pending: list[tuple[ast.AST, bool]] = [(tree_of(file), False)]
    calls = "import_module" in file.read_text("utf-8")  # else looking at statements will do
    while pending:
        node, deep = pending.pop()
        inside = deep or isinstance(node, ast.FunctionDef)
        pending += (
            (child, inside)
            for child in ast.iter_child_nodes(node)
            if calls or isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        )
        if isinstance(node, ast.Import):
            yield from ((alias.name, deep) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module, deep
        elif (
            isinstance(node, ast.Call)
            and "import_module" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
            and room_of(module_of(file)) != "__init__"
        ):
            assert isinstance(node.args[0], ast.Constant)
            yield str(node.args[0].value), deep


# -- imports -------------------------------------------------------------------------------------


def test_every_room_has_its_place() -> None:
    """The list of rooms is that of the package: a new one gets a place, one that is gone goes."""
    assert sorted({room_of(module) for module in MODULES}) == sorted(ROOMS)


def test_imports_run_one_way() -> None:
    """No module imports one from a room below its own; the package as a whole is at the bottom."""
    wrong = {
        (module_of(file), module)
        for file in FILES
        for module, _ in imports(file)
        if module.split(".")[0] == "minigrad"
        and ROOMS.index(room_of(module)) > ROOMS.index(room_of(module_of(file)))
    }
    assert set() == wrong


def test_no_modules_import_each_other() -> None:
    """Inside a room, too, there is an order: no module is imported, at however many removes, by one
    that it imports.
    """
    graph = {
        module_of(file): {name for name, _ in imports(file) if name in MODULES} for file in FILES
    }
    while leaves := [
        module for module, needs in graph.items() if not needs & graph.keys() - {module}
    ]:
        for leaf in leaves:
            del graph[leaf]
    assert {} == graph


def test_the_core_imports_numpy_and_the_standard_library() -> None:
    """Anything else is optional, and imported where it is used."""
    found = {
        (module_of(file), name.split(".")[0], deep)
        for file in FILES
        for name, deep in imports(file)
    }
    others = {(module, name, deep) for module, name, deep in found if name not in CORE}
    assert set() == {(module, name) for module, name, deep in others if not deep}
    assert set() == {(module, name) for module, name, _ in others if name not in OPTIONAL}


DEAR = {  # modules that load many others, and rooms that no first network needs
    *("html", "json", "multiprocessing", "subprocess", "tempfile", "urllib", "zipfile"),
    *(f"minigrad.{room}" for room in ("checkpoint", "datasets", "recording", "runs", "testing")),
    *("minigrad.display.html", "minigrad.training"),
}


def test_importing_minigrad_loads_little() -> None:
    """`import minigrad` needs no third-party module but NumPy and typing_extensions, and takes
    little longer than `import numpy`: what only some programs need is loaded when it is asked for.
    """
    code = (
        "import sys, numpy.random, typing_extensions; before = set(sys.modules)\n"
        "import minigrad\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert "" == done.stderr
    loaded = set(done.stdout.split())
    assert set() == {name.split(".")[0] for name in loaded} - CORE
    assert set() == loaded & DEAR


def test_layers_carry_no_hook_code() -> None:
    """`Sequential` tells hooks about each layer, so other layers know nothing of them.

    `Layer` itself has `attach`.
    """
    knowing = {
        file.name
        for file in (PACKAGE / "layers").glob("*.py")
        for name, _ in imports(file)
        if "hooks" in name
    }
    assert {"layer.py", "sequential.py"} == knowing


# -- size and documentation ----------------------------------------------------------------------


def test_modules_are_short() -> None:
    """A module can be read in one sitting."""
    lengths = {module_of(file): len(file.read_text("utf-8").splitlines()) for file in FILES}
    assert {} == {module: length for module, length in lengths.items() if length > 400}


def undocumented(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
        if ast.get_docstring(node) is None and not decorators & {"overload", "setter"}:
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{prefix}{node.name}.")


def test_everything_public_has_a_docstring() -> None:
    """Every module, public class, function and method says what it is."""
    trees = {module_of(file): tree_of(file) for file in FILES}
    assert [] == [module for module, tree in trees.items() if not ast.get_docstring(tree)]
    assert [] == [(module, name) for module, tree in trees.items() for name in undocumented(tree)]


# -- public names --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["minigrad", "minigrad.errors"])
def test_public_names_are_sorted_and_exist(module: str) -> None:
    """`__all__` reads like an index: sorted without regard to case, each name once, and each one is
    there.
    """
    found = importlib.import_module(module)
    names = list(found.__all__)
    assert sorted(set(names), key=str.lower) == names
    assert [] == [name for name in names if not hasattr(found, name)]


def test_every_all_exists() -> None:
    """What a module lists as public, it has."""
    for name in sorted(MODULES - {"minigrad.__main__"}):
        module = importlib.import_module(name)
        public = getattr(module, "__all__", [])
        assert [] == [own for own in public if not hasattr(module, own)], name


def test_the_names_of_the_contract_are_public() -> None:
    """What is promised is there under its name."""
    promised = (
        "Activation Batches Dense Handle Hook Layer Loss Optimizer Parameter ParameterVector "
        "Reason Recorder Run SGD Sequential SoftmaxCrossEntropy Step compare datasets errors init "
        "show_config testing Dropout BatchNorm LayerNorm Flatten SigmoidCrossEntropy "
        "MeanSquaredError MeanAbsoluteError Huber Adam AdamW RMSprop StepDecay ExponentialDecay "
        "CosineDecay LinearWarmup ReduceOnPlateau fit EarlyStopping Checkpoint StopOnNonFinite "
        "History save load"
    )
    assert not set(promised.split()) - set(mg.__all__)


def test_nothing_else_is_public() -> None:
    """Every public class and function in the namespace is listed, so that `__all__` is the whole
    truth.
    """
    loading = {"Any", "TYPE_CHECKING", "import_module"}  # what it needs to load names later
    found = {
        name
        for name, thing in vars(mg).items()
        if not name.startswith("_") and not inspect.ismodule(thing)
    }
    assert not found - set(mg.__all__) - loading


def test_names_that_are_loaded_later_are_as_good_as_the_others() -> None:
    """All names are there in a new process, by `import *` and `dir` too.

    What types are checked by is what is loaded.
    """
    code = (
        "import sys, minigrad\n"
        "assert 'minigrad.recording' not in sys.modules and 'minigrad.training' not in "
        "sys.modules\nassert set(minigrad.__all__) <= set(dir(minigrad))\n"
        "from minigrad import *\n"
        "print(*[name for name in minigrad.__all__ if globals()[name] is not getattr(minigrad, "
        "name)], fit.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert "minigrad.training.loop\n" == done.stdout
    with pytest.raises(AttributeError, match="module 'minigrad' has no attribute 'Conv'"):
        getattr(mg, "Conv")  # noqa: B009 - no type checker lets it pass as an attribute
    tree = ast.parse(Path(mg.__file__).read_text("utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        (node.module, alias.name)
        for node in ast.walk(checked)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    table = mg._LATER  # noqa: SLF001 - that type checkers see the same names is a promise to users
    later = {(module, name) for module, names in table.items() for name in names}
    assert typed == later | {
        tuple(module.split(".")) for module, names in table.items() if not names
    }


def test_classes_are_abstract_or_final() -> None:
    """What users instantiate cannot be subclassed.

    What is there to be subclassed cannot be instantiated, but Hook.
    """
    classes = [thing for name in mg.__all__ if inspect.isclass(thing := getattr(mg, name))]
    neither = {
        cls.__name__
        for cls in classes
        if not getattr(cls, "__final__", False) and not inspect.isabstract(cls)
    }
    assert neither <= {
        "Hook",
        "MinigradError",
        "Factors",
        "Reason",
    }  # Factors and Reason hold data only


# -- errors --------------------------------------------------------------------------------------


def exceptions() -> dict[str, type[BaseException]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if inspect.isclass(thing)
        and issubclass(thing, BaseException)
        and thing.__module__ == errors.__name__
    }


def test_all_exceptions_are_listed() -> None:
    """`errors.__all__` is exactly the exceptions that are defined there."""
    assert set(exceptions()) == set(errors.__all__)


def test_every_error_is_a_minigrad_error() -> None:
    """One `except MinigradError` catches all; warnings are warnings."""
    for name, error in exceptions().items():
        assert issubclass(error, Warning) or issubclass(error, errors.MinigradError), name


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    """Each line's class has the base that the drawing shows, and the built-in one in brackets."""
    drawn: dict[str, set[str]] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)\b(?: +\((\w+)\))?(?:  +\S|$)", line)
        if found is None:
            continue
        branch, name, builtin = found.groups()
        depth = len(branch) // 4
        above[depth] = name
        drawn[name] = {base for base in (above[depth - 1] if depth else None, builtin) if base}
    real = {
        name: {base.__name__ for base in error.__bases__} for name, error in exceptions().items()
    }
    real["MinigradError"] -= {"Exception"}
    assert real == drawn


def test_only_own_errors_are_raised() -> None:
    """What minigrad raises on purpose is a MinigradError: no bare built-in exception."""
    own = {*exceptions(), "AssertionError"}  # the latter says that something cannot happen
    # A hook that returned something, which is wrapped; and what NumPy's `__array__` protocol asks
    # for. And what Python asks of a module that has no such name.
    wanted = {
        ("hooks.py", "TypeError"),
        ("tensors.py", "ValueError"),
        ("__init__.py", "AttributeError"),
    }
    found = {
        (file.name, ast.unparse(node.exc.func))
        for file in FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    assert found
    assert not {
        (file, name) for file, name in found - wanted if name[0].isupper() and name not in own
    }
