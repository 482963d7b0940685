"""Finds where code asks which modality or which objective it has.

python tests/asking.py CHECKOUT        # prints every place, also of an older checkout
"""

import ast
import pathlib
import sys
from collections.abc import Iterator

WORDS = {"audio", "image", "text", "data2vec"}
KINDS = {
    *("AudioData", "ImageData", "TextData", "AudioFrontend", "ImageFrontend", "TextFrontend"),
    *("Data2VecConfig", "ModelConfig", "Data2Vec"),
}
# What only some modalities or objectives have: to ask for it by name is to ask which one it is.
FIELDS = {
    *("mask_id", "pad_id", "vocab_size", "conv_layers", "patch_size", "image_size", "samples"),
    *("buckets", "teacher", "student", "views", "decoder", "grid"),
    *("data.image_size", "data.buckets", "frontend.conv_layers", "frontend.vocab_size"),
}
# The doors, where a recipe's words become classes; and other people's formats, which have
# modalities and features of their own to tell apart.
DOORS = ("data/modality.py", "frontends/frontend.py", "encoder/objective.py")
OTHERS = ("interop/", "data/stores/tfds_", "data/audio/lists/tfds_", "data/text/tfds_")


def places(package: pathlib.Path) -> list[str]:
    """ "file:line form" of every place in a package that asks, outside the doors."""
    found = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).as_posix()
        if here not in DOORS and not here.startswith(OTHERS):
            found += [f"{here}:{line} {form}" for line, form in asks(path.read_text())]
    return found


def asks(source: str) -> Iterator[tuple[int, str]]:
    """(line, form) of everything in a file that asks."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Match(cases=cases) if any(_names_one(case.pattern) for case in cases):
                yield node.lineno, "match"
            case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, kind]):
                if any(_last(one) in KINDS for one in ast.walk(kind)):
                    yield node.lineno, "isinstance"
            case ast.Call(func=ast.Name("hasattr"), args=[_, ast.Constant(name)]):
                if name in FIELDS:
                    yield node.lineno, "hasattr"
            case ast.Call(func=ast.Name("getattr"), args=[_, ast.Constant(name), _]):
                if name in FIELDS:
                    yield node.lineno, "getattr"
            case ast.Compare(left=left, comparators=others):
                sides = [part for side in (left, *others) for part in ast.walk(side)]
                words = {
                    side.value
                    for side in sides
                    if isinstance(side, ast.Constant) and isinstance(side.value, str)
                }
                if words & WORDS or (words & FIELDS and isinstance(node.ops[0], ast.In)):
                    yield node.lineno, "comparison"
            case ast.Dict(keys=keys):
                words = {key.value for key in keys if isinstance(key, ast.Constant)}
                if len(words & WORDS) > 1:
                    yield node.lineno, "dict"


def _names_one(pattern: ast.pattern) -> bool:
    return any(
        (isinstance(one, ast.MatchClass) and _last(one.cls) in KINDS)
        or (isinstance(one, ast.Constant) and one.value in WORDS)
        for one in ast.walk(pattern)
    )


def _last(node: ast.AST) -> str:
    return ast.unparse(node).split(".")[-1] if isinstance(node, ast.Name | ast.Attribute) else ""


if __name__ == "__main__":
    found = places(pathlib.Path(sys.argv[1]) / "d2v_jax")
    print("\n".join([*found, f"{len(found)} places"]))
