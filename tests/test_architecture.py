"""The arrows between the rooms, and what no room may do. Read from the source, so that nothing has to be imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import longvie

ROOT = Path(longvie.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A room may use those on its left, and itself.
LAYERS: list[set[str]] = [
    {"errors", "shapes", "limits", "documents", "journal"},
    {"runtime", "media"},
    {"models", "controls"},
    {"engine", "data"},
    {"runs"},
    {"presets"},
    {"request"},
    {"catalogue"},
    {"api"},
    {"training", "evaluation", "serving"},
    {"bench"},
    {"cli"},
    {"__main__"},
]
# Rooms of the lowest floor that stand on others of it, and media, the door that documents and journal go through.
ALLOWED = {
    ("limits", "errors"),
    ("shapes", "errors"),
    ("documents", "errors"),
    ("documents", "limits"),
    ("documents", "media"),
    ("journal", "errors"),
    ("journal", "media"),
    ("media", "runtime"),
    ("data", "engine"),
    ("data", "controls"),
    ("training", "evaluation"),
}


def room(module: str) -> str:
    """`longvie.models.tae` → `models`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def floor(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(room, room that it uses) of one file, wherever in the file the import stands."""
    mine = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("longvie"):
            if node.module == "longvie":
                yield from ((mine, alias.name) for alias in node.names)
            else:
                yield mine, room(node.module)
        elif isinstance(node, ast.Import):
            yield from ((mine, room(alias.name)) for alias in node.names if alias.name.startswith("longvie."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    for mine, other in imports(path):
        if mine in (other, "__init__"):
            continue
        assert floor(other) < floor(mine) or (mine, other) in ALLOWED, f"{mine} uses {other}"


def test_models_and_controls_do_not_know_each_other() -> None:
    used = {pair for path in FILES for pair in imports(path)}
    assert ("models", "controls") not in used
    assert ("controls", "models") not in used


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, by its dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    found = [word.value for word in call.keywords if word.arg == name]
    return ast.unparse(found[0]) if found else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_unsafe_is_called(path: Path) -> None:
    text = path.read_text()
    for name, call in calls(path):
        last = name.rsplit(".", 1)[-1]
        if last == "print":
            assert path.parent.name == "cli", "only the command line prints"
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen", "__import__", "tarfile.open")
        assert not name.startswith(("pickle.", "dill.", "cloudpickle.", "marshal.", "shelve.", "torch.hub"))
        assert name not in ("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all")
        if name == "yaml.load":
            assert keyword(call, "Loader") == "_Yaml", "the strict safe loader alone reads YAML"
        if name == "torch.load":
            assert keyword(call, "weights_only") == "True", "a pickle may run code"
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") in (None, "False")
        assert keyword(call, "allow_pickle") in (None, "False")
        assert keyword(call, "trust_remote_code") in (None, "False")
        assert keyword(call, "shell") in (None, "False")
        if last == "extractall":
            pytest.fail("archives are not unpacked")
    assert "import pickle" not in text
    assert "from __future__ import annotations" not in text, "it hides shapes from the checker"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_behaviour_does_not_hang_on_the_environment(path: Path) -> None:
    text = path.read_text()
    assert "os.environ" not in text
    assert "os.getenv" not in text


def test_only_runtime_names_a_device() -> None:
    """`.cuda()` and `torch.cuda.is_available` elsewhere would be a second door; timers may wait for a device."""
    doors = {"runtime.py", "speed.py"}
    for path in FILES:
        if path.name not in doors:
            for name, _ in calls(path):
                assert not name.endswith(".cuda"), path
                assert name != "torch.cuda.is_available", path


def test_functions_are_typed() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                assert node.returns is not None, f"{path.name}: {node.name} does not say what it returns"


def test_every_room_says_what_it_is() -> None:
    for path in FILES:
        text = path.read_text()
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, longvie; print(sorted({'torch', 'diffusers', 'transformers', 'av', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_helps_without_loading_anything_heavy() -> None:
    code = "import sys; from longvie.cli import run; run(['--help']); print(sorted({'torch', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
