"""The house keeps its doors: who may import whom, and a few habits."""

import ast
import pathlib

import asking
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "d2v_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

ROOMS = {
    "common": set(),
    "nn": {"common"},
    "frontends": {"common", "nn"},
    "encoder": {"common", "nn", "frontends"},
    "data2vec": {"common", "nn", "frontends", "encoder"},
    "supervised": {"common", "nn", "frontends", "encoder"},
    "baselines": {"common", "nn", "frontends", "encoder"},
    "data": {"common"},
    "decoding": {"common"},
    "interop": {"common", "nn", "frontends", "encoder", "data2vec", "configs"},
    "train": {"common", "nn", "frontends", "encoder", "data2vec", "data", "configs"},
    "transfer": {
        "common",
        "nn",
        "frontends",
        "encoder",
        "data2vec",
        "supervised",
        "data",
        "decoding",
        "train",
        "interop",
    },
    "measure": {"common", "nn", "frontends", "encoder", "data2vec", "data", "train"},
    "cli": {"common", "data2vec", "data", "train", "transfer", "interop", "measure", "configs"},
    "__init__": {"transfer"},
}
# Third-party libraries have rooms too; files by path below d2v_jax.
GUESTS = {
    "optax": ("train/", "supervised/", "transfer/probes/large.py"),
    "grain": ("data/",),
    "espeakng_loader": ("data/",),
    "simplejpeg": ("data/",),
    "kornia_rs": ("data/",),
    "tensorflow_datasets": ("data/",),
    "orbax": ("train/checkpoint.py",),
    "flax": ("nn/", "frontends/", "encoder/", "data2vec/", "baselines/", "train/state.py"),
    "sklearn": (
        "transfer/probes/probe.py",
        "transfer/answers/scores.py",
        "transfer/units/clusters.py",
    ),
    "jiwer": ("transfer/answers/recognition.py",),
    "PIL": ("data/", "measure/plain_loops.py"),
    "matplotlib": (
        "data/inspect/charts.py",
        "transfer/answers/results_plot.py",
        "transfer/units/report.py",
    ),
    "soundfile": ("data/", "measure/plain_loops.py"),
    "soxr": ("data/", "measure/plain_loops.py"),
    "tokenizers": ("data/",),
    "skimage": ("data/",),
    "safetensors": ("interop/",),
    "tensorboardX": ("train/report/metrics.py",),
    "torch": (),
    "transformers": (),
    "jax": (
        "common/",
        "nn/",
        "frontends/",
        "encoder/",
        "data2vec/",
        "baselines/",
        "supervised/",
        "baselines/",
        "train/",
        "transfer/",
        "interop/",
        "measure/",
    ),
}


def imports(path: pathlib.Path) -> list[tuple[str, int]]:
    """(dotted name, line) of everything a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_file_keeps_to_its_room(path):
    room = path.relative_to(ROOT / "d2v_jax").parts[0].removesuffix(".py")
    here = str(path.relative_to(ROOT / "d2v_jax"))
    for name, line in imports(path):
        top, *rest = name.split(".")
        if top == "d2v_jax":
            guest = rest[0]
            assert guest == room or guest in ROOMS[room], f"{path}:{line}: {room} imports {guest}"
        elif top in GUESTS:
            assert here.startswith(GUESTS[top]), f"{path}:{line}: {top} has no place here"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_recipes_are_data(path):
    for name, line in imports(path):
        assert name.startswith(("ml_collections", "d2v_jax.configs", "typing")), (
            f"{path}:{line}: {name}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_habits(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} does not say what it is"
    assert len(text.splitlines()) <= 300, f"{path} is long; does it do one thing?"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"


def test_nobody_asks_which_modality_or_objective_it_is():
    assert asking.places(PACKAGE) == []


@pytest.mark.parametrize(
    "code",
    [
        "match cfg:\n    case AudioData(): pass",
        "match cfg.modality:\n    case 'image': pass",
        "isinstance(cfg, data.TextData)",
        "hasattr(frontend, 'mask_id')",
        "getattr(objective, 'teacher', None)",
        "modality == 'audio'",
        "modality in ('audio', 'text')",
        "'data.buckets' in fields",
        "{'audio': 1, 'image': 2}",
    ],
)
def test_every_form_of_asking_is_found(code):
    assert len(list(asking.asks(code))) == 1
    assert not list(asking.asks("match kind:\n    case 'blocks': pass\nx == 'bert'"))


def graph() -> dict[str, set[str]]:
    """Which file imports which, inside the package, imports in functions too."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    edges = {}
    for name, path in modules.items():
        found = set()
        for target, _ in imports(path):
            while target and target not in modules:
                target = target.rpartition(".")[0]
            found |= {target} - {"", name}
        edges[name] = found
    return edges


def test_no_import_circle():
    edges, done = graph(), set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_rooms_can_be_held_in_the_head():
    for folder in {path.parent for path in FILES}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 16, f"{folder} has {len(files)} files"
        first = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert first, f"{folder} does not say what it is for"


def test_no_two_tests_share_a_name():
    """pytest imports them by their bare names: the second of two cannot be collected."""
    names = [path.name for path in pathlib.Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_programs_follow_the_platform_they_are_compiled_for():
    """Not the machine that traces them; `allocator` throws a switch of its own process."""
    for room in ("nn", "frontends", "encoder", "data2vec", "baselines", "train"):
        for path in (PACKAGE / room).rglob("*.py"):
            asked = "default_backend" in path.read_text()
            assert not asked or path.name == "allocator.py", path


def test_one_step_one_loop_one_model():
    found = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    for name in ("train_step", "fit", "Model"):
        assert found.count(name) == 1, name
