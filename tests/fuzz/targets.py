"""The doors: what is drawn for each, and how it is let in."""

import dataclasses
import gzip
import io
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from d2v_jax.common import trees
from d2v_jax.data.audio import sound_files, waves
from d2v_jax.data.audio.lists.manifest import Manifest
from d2v_jax.data.audio.lists.segments import Segments
from d2v_jax.data.image import jpeg, pictures
from d2v_jax.data.records import BadRecord
from d2v_jax.interop.fairseq.reader import read_fairseq
from d2v_jax.interop.pickles import torch_pickle
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import convert, reading
from fuzz import opcodes
from fuzz.judge import Fault
from fuzz.spoil import ACTIONS, CHANGES, EDITS, edited, spoil_folder, spoilt

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@dataclasses.dataclass(frozen=True)
class Target:
    """`prepare(folder)` makes what `check(prepared, folder, input)` starts from."""

    inputs: st.SearchStrategy
    prepare: Callable[[pathlib.Path], Any]
    check: Callable[[Any, pathlib.Path, Any], None]


# --- checkpoints of torch ----------------------------------------------------------------------


def _pickles(folder: pathlib.Path) -> dict[str, Any]:
    import torch_files

    weights = {"blocks.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2)}
    content = {"model": weights, "cfg": {"a": [1, "b", None], "c": 2.5}, "extra": (True, -7)}
    whole = torch_files.zip_file(folder / "zip.pt", content).read_bytes()
    legacy = torch_files.legacy_file(folder / "legacy.pt", content).read_bytes()
    real = (GOLDEN / "v2_text" / "checkpoint.pt").read_bytes()
    pickled = torch_files.Writer().pickle(content)
    return {"zip": whole, "legacy": legacy, "real": real, "pickled": pickled, "content": content}


def _check_pickle(seeds: dict[str, Any], folder: pathlib.Path, case: Any) -> None:
    import torch_files

    kind, change = case
    path = folder / "input.pt"
    if kind == "opcodes":
        torch_files.zip_file(path, pickled=b"\x80\x04" + change + b".")
    elif kind == "pickled":  # within a whole archive, so that its checksum says nothing
        torch_files.zip_file(path, pickled=spoilt(seeds[kind], change))
    else:
        path.write_bytes(spoilt(seeds[kind], change))
    content = torch_pickle.read(path)
    if kind == "zip":
        _require_same(content.get("model"), seeds["content"]["model"])
    read_fairseq(path)


def _require_same(found: Any, expected: Any) -> None:
    """Every member of an archive has a checksum, so what is taken is what was written."""
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise Fault("other weights were taken than the archive was written with")
    for key, array in expected.items():
        if found[key].shape != array.shape or not np.array_equal(found[key], array):
            raise Fault(f"a changed weight was taken: {key}")


# --- folders of weights ------------------------------------------------------------------------

FOLDERS = ("hf_text_cls", "hf_vision_cls", "hf_audio_ctc", "ours", "shards")


def _headers(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    from safetensors.numpy import load_file, save_file

    made = {}
    for name in FOLDERS[:3]:
        made[name] = folder / "whole" / name
        shutil.copytree(GOLDEN / name / "pretrained", made[name], dirs_exist_ok=True)
    made["ours"] = folder / "whole" / "ours"
    if not made["ours"].exists():
        convert.convert(GOLDEN / "v2_text" / "checkpoint.pt", made["ours"], "safetensors")
    made["shards"] = folder / "whole" / "shards"
    shutil.copytree(made["hf_text_cls"], made["shards"], dirs_exist_ok=True)
    flat = load_file(made["hf_text_cls"] / "model.safetensors")
    (made["shards"] / "model.safetensors").unlink()
    places = {key: f"model-{n % 2}.safetensors" for n, key in enumerate(flat)}
    for part in set(places.values()):
        save_file({k: flat[k] for k in flat if places[k] == part}, made["shards"] / part)
    (made["shards"] / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return made


def _check_header(made: dict[str, pathlib.Path], folder: pathlib.Path, case: Any) -> None:
    which, number, kind, change = case
    place = folder / "input"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made[which], place)
    files = sorted(place.iterdir())
    path = files[number % len(files)]
    data = path.read_bytes()
    if kind == "bytes":
        path.write_bytes(spoilt(data, change))
    elif path.suffix == ".json":
        path.write_text(json.dumps(edited(json.loads(data), change)))
    else:
        size = int.from_bytes(data[:8], "little")
        header = json.dumps(edited(json.loads(data[8 : 8 + size]), change)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    reading.read(place)


# --- sound, pictures, texts --------------------------------------------------------------------


def _media(folder: pathlib.Path) -> dict[str, bytes]:
    import pictures as drawn
    import sounds as played
    from PIL import Image

    wave, picture = played.tone(2_000), Image.fromarray(drawn.ramp())
    return {
        "wav": played.wav(wave),
        "stereo": played.encoded(np.stack([wave, wave], 1), "WAV", 44_100, "FLOAT"),
        "flac": played.encoded(wave, "FLAC"),
        "ogg": played.encoded(wave, "OGG"),
        "jpeg": drawn.jpeg(),
        "cmyk": drawn.encoded(picture.convert("CMYK"), "jpeg"),
        "png": drawn.encoded(picture.convert("P"), "png"),
        "grey": drawn.encoded(picture.convert("I;16"), "png"),
        "webp": drawn.encoded(picture, "webp"),
        "gif": drawn.encoded(picture, "gif"),
        "bmp": drawn.encoded(picture, "bmp"),
    }


def _check_sound(seeds: dict[str, bytes], folder: pathlib.Path, case: Any) -> None:
    data = spoilt(seeds[case[0]], case[1])
    (folder / "input").write_bytes(data)
    with _told():
        sound_files.header(data)
    wave = waves.decode(data)
    if wave.dtype not in (np.int16, np.float32) or not np.isfinite(wave).all():
        raise Fault(f"a wave of {wave.dtype} or with numbers that are not finite was taken")
    waves.utterance(wave)


def _check_picture(seeds: dict[str, bytes], folder: pathlib.Path, case: Any) -> None:
    data = spoilt(seeds[case[0]], case[1])
    (folder / "input").write_bytes(data)
    for channels in (1, 3):
        with _told():
            picture = pictures.decode(data, channels)
            if picture.mode != pictures.MODES[channels]:
                raise Fault(f"a picture of mode {picture.mode} was taken")
        if jpeg.size_of(data) is not None:
            jpeg.pixels(data, channels)
            jpeg.pixels(data, channels, (8, 8))


class _told:
    """A door that may refuse, before the next one is tried."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        return kind is not None and issubclass(kind, BadRecord)


def _texts(folder: pathlib.Path) -> dict[str, Any]:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"text": f"Row {n} of many.\nIts second line."} for n in range(60)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"text": [row["text"] for row in rows]}), buffer)
    recipe = resolve.resolve(resolve.load("v1_text_base:smoke"))
    data = dataclasses.replace(recipe.data, source=str(folder / "texts"), tokenizer="bytes")
    seeds = {"a.jsonl": lines, "a.parquet": buffer.getvalue(), "a.jsonl.gz": gzip.compress(lines)}
    return {"data": data, **seeds, "a.txt": b"One line.\nAnother.\n\nA second text.\n" * 20}


def _check_text(seeds: dict[str, Any], folder: pathlib.Path, case: Any) -> None:
    name, changes = case
    shutil.rmtree(folder / "texts", ignore_errors=True)
    (folder / "texts").mkdir()
    (folder / "texts" / name).write_bytes(spoilt(seeds[name], changes))
    source = seeds["data"].records()
    for index in range(min(len(source), 5)):
        source.read(index)


# --- manifests, recipes, runs ------------------------------------------------------------------


def _manifests(folder: pathlib.Path) -> dict[str, bytes]:
    import sounds as played

    whole = played.wav(played.tone(800))
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(whole)
    (folder / "x.zip").write_bytes(b"PK" + whole + b"PK")
    rows = [str(folder), *(f"{number}.wav\t800" for number in range(3))]
    rows += ["1.wav:100:500\t500", f"x.zip:2:{len(whole)}\t800"]
    return {
        "list.tsv": "".join(f"{row}\n" for row in rows).encode(),
        "list.wrd": b"A B\nC\nD\nE\nF\n",
        "x.zip": (folder / "x.zip").read_bytes(),
        "segments": b"u1 rec 0.0 0.02\nu2 rec 0.02 0.05\n",
        "wav.scp": b"rec 1.wav\n",
        "text": b"u1 HI YOU\nu2 BYE\n",
        "list.stm": b"1 1 ann 0.0 0.02 <o,f0,male> HI YOU\n2 1 bob 0.02 0.05 BYE\n",
    }


def _check_manifest(seeds: dict[str, bytes], folder: pathlib.Path, case: Any) -> None:
    which, changes = case
    for name, data in seeds.items():
        (folder / name).write_bytes(spoilt(data, changes) if name == which else data)
    if which in ("list.tsv", "list.wrd", "x.zip"):
        source = Manifest(folder / "list.tsv")
    else:
        source = Segments(folder / (which if which == "list.stm" else "segments"))
    for index in range(len(source)):
        with _told():
            record = source.read(index)
            waves.utterance(record.data)
            if record.size <= 0:
                raise Fault("a record of nothing was taken")
            if isinstance(record.data, sound_files.Part):
                list(record.data.contents())


RECIPES = ("v2_image_base", "v1_audio_base", "v2_text_base", "quickstart_image")
WORDS = st.tuples(
    st.integers(0, 999),
    st.sampled_from(["", "x", "0", "-1", "1e400", "nan", "inf", "None", "True", "()", "(1,", "'"])
    | st.integers(-(2**70), 2**70).map(str)
    | st.floats().map(str)
    | st.text(max_size=10),
)


def _recipes(folder: pathlib.Path) -> dict[str, Any]:
    found = {}
    for name in RECIPES:
        recipe = resolve.resolve(resolve.load(f"{name}:smoke"))
        found[name] = json.loads(json.dumps(resolve.to_fields(recipe)))
    return found


def _check_recipe(seeds: dict[str, Any], folder: pathlib.Path, case: Any) -> None:
    name, edits, words = case
    fields = seeds[name]
    names = [
        f"{section}.{field}" if field else section
        for section, inner in fields.items()
        for field in (inner if isinstance(inner, dict) else [""])
    ]
    spec = [f"--config.{names[at % len(names)]}={value}" for at, value in words]
    recipe = resolve.resolve(resolve.edited(edited(fields, edits) if edits else fields, spec, name))
    resolve.resolve(json.loads(json.dumps(resolve.to_fields(recipe))))


def _runs(folder: pathlib.Path) -> Any:
    run = folder / "whole"
    if not run.exists():
        convert.convert(GOLDEN / "v2_text" / "checkpoint.pt", run)
    return run, reading.read(run)


def _check_run(prepared: Any, folder: pathlib.Path, case: Any) -> None:
    run, whole = prepared
    place = folder / "input"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    spoil_folder(place, case)
    found = reading.read(place)
    for one, other in ((found.params, whole.params), (found.carried or {}, whole.carried or {})):
        ours, theirs = dict(trees.leaves(one)), dict(trees.leaves(other))
        if ours.keys() == theirs.keys():
            changed = [k for k in ours if not np.array_equal(ours[k], theirs[k])]
            if changed:
                raise Fault(f"a changed weight was taken: {changed[0]}")


def _some(*names: str) -> st.SearchStrategy:
    return st.tuples(st.sampled_from(names), CHANGES)


TARGETS = {
    "pickles": Target(
        _some("zip", "legacy", "pickled", "real") | st.tuples(st.just("opcodes"), opcodes.PROGRAMS),
        _pickles,
        _check_pickle,
    ),
    "headers": Target(
        st.one_of(
            st.tuples(st.sampled_from(FOLDERS), st.integers(0, 9), st.just("bytes"), CHANGES),
            st.tuples(st.sampled_from(FOLDERS), st.integers(0, 9), st.just("json"), EDITS),
        ),
        _headers,
        _check_header,
    ),
    "sounds": Target(_some("wav", "stereo", "flac", "ogg"), _media, _check_sound),
    "pictures": Target(
        _some("jpeg", "cmyk", "png", "grey", "webp", "gif", "bmp"), _media, _check_picture
    ),
    "texts": Target(_some("a.jsonl", "a.parquet", "a.jsonl.gz", "a.txt"), _texts, _check_text),
    "manifests": Target(
        _some("list.tsv", "list.wrd", "x.zip", "segments", "wav.scp", "text", "list.stm"),
        _manifests,
        _check_manifest,
    ),
    "recipes": Target(
        st.tuples(st.sampled_from(RECIPES), EDITS | st.just([]), st.lists(WORDS, max_size=2)),
        _recipes,
        _check_recipe,
    ),
    "runs": Target(ACTIONS, _runs, _check_run),
}
