"""Imports point down only, and what must start fast imports nothing heavy."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Every module of ignition and the floor it stands on. A new module has to be put on one.
FLOORS = {
    0: {"comparison", "config", "curve", "process", "review", "rundir", "stability", "studies", "summary"},
    1: {
        "events",
        "distributed",
        "data",
        "randomness",
        "precision",
        "loss_terms",
        "timetable",
        "checkpoint_file",
        "restoring",
        "learning_rate_curve",
    },
    2: {"engine", "recipe", "handlers", "optimizer", "monitor"},
    3: {
        "assembly",
        "before_and_after",
        "evaluations",
        "incidents",
        "lifecycle",
        "reporting",
        "scheduling",
        "smallest_batch",
        "supervision",
        "training",
    },
    4: {
        "check",
        "command_line",
        "compare",
        "drill",
        "evaluate",
        "exact_resume",
        "find_learning_rate",
        "monitor/__main__",
        "replay",
        "review/__main__",
        "run",
        "study",
    },
}
PARTS = ROOT / "recipes" / "parts"
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
HEAVY = {"torch", "torchvision", "ignite", "kornia", "tensorboardX"}


def modules():
    files = sorted((ROOT / "ignition").rglob("*.py"))
    assert len(files) > 20
    return [file for file in files if file.relative_to(ROOT / "ignition") != Path("__init__.py")]


def imports(file, *, inside_functions=True):
    """Dotted names that a file imports, those for type checkers only left out."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    if not inside_functions:
        skipped |= {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for inner in ast.walk(node)
        }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def noun(file):
    path = file.relative_to(ROOT / "ignition").with_suffix("")
    return str(path) if str(path) in FLOOR_OF else path.parts[0]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file):
    assert noun(file) in FLOOR_OF, f"{file} stands on no floor: put it into FLOORS"
    own = FLOOR_OF[noun(file)]
    for name in imports(file):
        first, *rest = name.split(".")
        if first == "ignition" and rest:
            assert FLOOR_OF[rest[0]] <= own, f"{file} imports {name}, which is above it"
        assert first != "recipes", f"{file} imports {name}: the engine knows no recipe"
        if own == 0 or noun(file) == "monitor":
            assert first not in HEAVY, f"{file} imports {name}: floor 0 and the monitor know no torch"


def test_handlers_and_engine_do_not_know_each_other():
    # what handlers may know of each other
    shared = {"improvement", "schedules", "gradients", "clipping_rules", "consensus", "rows"}
    for file in modules():
        for name in imports(file):
            if noun(file) == "handlers" and file.name != "__init__.py":
                assert not name.startswith(("ignition.engine", "ignition.config", "ignition.recipe")), (file, name)
                if name.startswith("ignition.handlers."):
                    assert name.split(".")[2] in shared, (file, name)
            if noun(file) == "engine":
                assert not name.startswith("ignition.handlers"), (file, name)


def recipe_files():
    files = sorted((ROOT / "recipes").rglob("*.py"))
    assert len(files) > 100
    return files


@pytest.mark.parametrize("file", recipe_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_recipes_know_the_recipe_protocol_only(file):
    part = PARTS in file.parents
    for name in imports(file):
        if name.startswith("ignition"):
            assert name.startswith("ignition.recipe"), (file, name)
            assert not part, f"{file}: parts know no ignition at all"
        if name.startswith("recipes"):
            assert name.startswith("recipes.parts"), f"{file} imports {name}: never another recipe"


@pytest.mark.parametrize("file", recipe_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_two_domains_use_belongs_to_none(file):
    names = [name.split(".")[2] for name in imports(file) if name.startswith("recipes.parts.")]
    domains = {name for name in names if (PARTS / name).is_dir()}
    if file.parent.parent == PARTS:
        assert domains <= {file.parent.name}, f"{file} imports parts of {domains}: what is shared goes to recipes/parts"
    elif file.parent == PARTS and file.name != "fit_gaussians.py":  # that one is a command
        assert not domains, f"{file} is for all domains, and imports parts of {domains}"
    else:
        assert len(domains) <= 1, f"{file} imports parts of {domains}: what is shared goes to recipes/parts"


@pytest.mark.parametrize(
    "command", ["run", "evaluate", "compare", "drill", "replay", "study", "monitor.__main__", "review.__main__"]
)
def test_commands_say_how_they_are_used_without_torch(command):
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        f"from ignition.{command} import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m ignition" in done.stdout
    assert time.perf_counter() - began < 5.0  # 0.1 s on a quiet machine; torch alone takes longer than that


def test_the_package_itself_imports_nothing():
    assert list(imports(ROOT / "ignition" / "__init__.py")) == []


def test_nothing_is_unpickled_or_executed_that_a_file_holds():
    """The calls by which a file could bring code: each by its safe form, or not at all."""
    found = []
    for file in [*modules(), *recipe_files()]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            found.append(call)
            assert call != "torch.load" or given.get("weights_only") == "True", (file, node.lineno)
            assert call not in ("np.load", "numpy.load") or given.get("allow_pickle") == "False", (file, node.lineno)
            assert call != "yaml.load" or "SafeLoader" in ast.unparse(node.args[1]), (file, node.lineno)
            unsafe = ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load",
                      "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "dill.load", "joblib.load",
                      "torch.hub.load")  # fmt: skip
            assert call not in unsafe, (file, node.lineno, call)
            assert "shell" not in given, (file, node.lineno)
    assert found.count("torch.load") >= 4 and found.count("np.load") >= 3
