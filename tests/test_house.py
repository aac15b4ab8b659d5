"""The house rules of the package, as tests: how long files may be, who may import whom, what must be said."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinyclip

PACKAGE = Path(tinyclip.__file__).parent
REPOSITORY = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
HEART = ("transformer.py", "encoders.py", "clip.py", "losses.py", "train.py")

# From the ground up. A file imports from its own floor or from lower ones, never in a circle.
FLOORS = {
    "errors": 1, "config": 1, "compiling": 1, "world": 1, "tokenizer": 1, "bpe": 1,
    "transformer": 2,
    "encoders": 3,
    "clip": 4, "losses": 4, "by_hand": 4,
    "streamed": 5, "large_batch": 5, "parallel": 5, "flops": 5, "weights": 5, "openai": 5, "data": 5, "folder": 5,
    "train": 6, "checkpoint": 6, "published": 6, "bundle": 6, "show": 6,
    "evaluate": 7, "fairness": 7, "geometry": 7, "search": 7, "explain": 7, "senses": 7, "plots": 7, "run": 7,
    "drawing": 8, "benchmark": 8,
    "commands": 9, "cli": 9, "__main__": 9,
}  # fmt: skip


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_only_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(path, everywhere):
    """The package's own modules that a file imports: when it is loaded, or `everywhere`, inside functions too (but not for types only)."""
    package = list(path.relative_to(PACKAGE).parent.parts)
    found = set()

    def visit(node):
        if is_only_for_types(node) or (not everywhere and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            return
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                found.add(".".join([*base, alias.name]) if module_exists([*base, alias.name]) else ".".join(base))
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "tinyclip":
            found.add(".".join(node.module.split(".")[1:]))
        elif isinstance(node, ast.Import):
            found.update(".".join(alias.name.split(".")[1:]) for alias in node.names if alias.name.split(".")[0] == "tinyclip")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found - {""}


def module_exists(parts):
    path = PACKAGE.joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_longer_than_300_lines(name):
    lines = len((PACKAGE / name).read_text().splitlines())
    assert lines <= 300, f"tinyclip/{name} has {lines} lines: no file may pass 300"


def test_the_heart_stays_under_700_lines():
    lines = {name: len((PACKAGE / name).read_text().splitlines()) for name in HEART}
    assert sum(lines.values()) < 700, f"the heart has {sum(lines.values())} lines, but must stay under 700: {lines}"
    assert f"is {sum(lines.values())} lines" in (PACKAGE.parent / "README.md").read_text(), f"the README should say {sum(lines.values())} lines"


def test_the_readme_names_every_file():
    rows = [re.findall(r"`([\w/.]+)`", line.split("|")[1]) for line in (REPOSITORY / "README.md").read_text().splitlines() if line.startswith("| `")]
    listed = set()
    for first, *others in (row for row in rows if row and row[0].startswith("tinyclip/")):
        folder = first.rsplit("/", 1)[0]  # of the others in its row, too
        listed |= {first, *(f"{folder}/{other}" for other in others)}
    files = {f"tinyclip/{name}" for name in NAMES if not name.split("/")[-1].startswith("__")}
    missing = [file for file in sorted(files) if not {file, file.rsplit("/", 1)[0] + "/"} & listed]
    assert not missing, f"the README's table of files should have a row for {', '.join(missing)}"
    gone = sorted(name for name in listed if not (REPOSITORY / name).exists())
    assert not gone, f"the README's table of files names {', '.join(gone)}, which is not there"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__init__.py"])
def test_a_file_imports_from_no_higher_floor(name):
    own = module_of(PACKAGE / name).split(".")[0]
    assert own in FLOORS, f"tinyclip/{name} stands on no floor: give it one here and in the design"
    for other in sorted(imports_of(PACKAGE / name, everywhere=True)):
        floor = FLOORS[other.split(".")[0]]
        assert floor <= FLOORS[own], f"tinyclip/{name} (floor {FLOORS[own]}) imports {other} from floor {floor}, which is above it"


def test_no_imports_go_in_a_circle():
    graph = {module_of(path): imports_of(path, everywhere=False) for path in FILES if path != PACKAGE / "__init__.py"}
    done, path = set(), []

    def visit(module):
        assert module not in path, f"these modules import each other in a circle: {' -> '.join([*path[path.index(module):], module])}"
        if module in done:
            return
        path.append(module)
        for other in sorted(graph.get(module, ())):
            if not module.startswith(other + "."):  # a package's own file is loaded before its parts
                visit(other)
        done.add(path.pop())

    for module in graph:
        visit(module)
    assert {"evaluate", "world.worlds", "transformer"} <= done, f"the search for circles should visit every module, but saw only {sorted(done)}"


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_has_a_docstring(name):
    tree = ast.parse((PACKAGE / name).read_text())
    missing = [] if ast.get_docstring(tree) else ["the file itself"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            missing.append(node.name)
    assert not missing, f"tinyclip/{name}: no docstring on {', '.join(missing)}"


@pytest.mark.parametrize("name", NAMES)
def test_lessons_named_in_docstrings_exist(name):
    text = (PACKAGE / name).read_text()
    for found in re.finditer(r"[Ll]essons? (\d+(?:(?:, | and | to |-)\d+)*)", text):
        for number in re.findall(r"\d+", found[1]):
            assert len(number) == 2 and 0 <= int(number) <= 18, f"tinyclip/{name} names {found[0]!r}: lessons are numbered 00 to 18, with two digits"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_stored_in_a_form_that_runs_code(name):
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        bad = {module.split(".")[0] for module in modules} & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
        assert not bad, f"tinyclip/{name} imports {', '.join(bad)}: what is saved must be data, not code"
        assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), f"tinyclip/{name} passes allow_pickle: what is loaded must be data"


def test_the_top_level_holds_what_the_design_says_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True).stdout if shutil.which("git") else ""
    if not listed:
        pytest.skip("this is no clone: nothing says what belongs to it")
    found = {name.split("/")[0] for name in listed.splitlines()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "tinyclip", "lessons", "tests", "data", ".ci", ".gitignore"}
    assert found == wanted, f"the repository's top level should hold {sorted(wanted)}, but differs in {sorted(found ^ wanted)}"


def test_ruff_finds_nothing():
    places = [str(PACKAGE), str(REPOSITORY / "tests"), str(REPOSITORY / "lessons")]
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", *places], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, f"ruff complains: {result.stdout[-1500:]}{result.stderr[-500:]}"
