"""`d2v transcribe`: recordings to text, with the time of each word."""

import json
import logging
import pathlib
from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole, written_whole
from d2v_jax.common.names import writable
from d2v_jax.data.audio import inputs, opening, waves
from d2v_jax.data.audio.lists import segments
from d2v_jax.data.audio.lists.manifest import SUFFIX
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord
from d2v_jax.transfer import encoder
from d2v_jax.transfer.answers.recognition import SearchOptions, Word

log = logging.getLogger("d2v")

AT_ONCE = 32  # recordings encoded together

Said = tuple[str, list[Word]]  # the name of a recording, and its words


def write(
    path: pathlib.Path,
    names: Sequence[str],
    out: pathlib.Path | None,
    form: str,
    search: SearchOptions,
) -> str:
    """Transcribes folders, sound files and manifests; returns what is to be printed.

    `form` is "txt", "jsonl" or "srt"; of subtitles each recording has a file of its own in the
    folder `out`, named as it is. Recordings that cannot be read are named and left out.
    Raises `UserError` where the checkpoint has no CTC head or no recording is readable.
    """
    model = encoder.load(path)
    if model.head is None or model.head["kind"] != "ctc":
        raise UserError(
            f"{path} has no CTC head, so it cannot write down what is said; d2v finetune --config "
            "finetune_asr trains one"
        )
    said = transcribed(model, search, _recordings(names, model.config.frontend.conv_layers))
    if form == "srt":
        return _subtitles(said, names, out)
    lines = map(FORMS[form], said)
    if out is None:
        text = "".join(lines)
        if not text:
            raise UserError(f"no recording in {', '.join(map(writable, names))} could be read")
        return text
    count = 0
    with written_whole(out.expanduser()) as part, part.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            count += 1
        if not count:
            raise UserError(f"no recording in {', '.join(map(writable, names))} could be read")
    return f"{count} recordings transcribed, in {out}\n"


def transcribed(
    model: encoder.Encoder, search: SearchOptions, recordings: Iterable[tuple[str, np.ndarray]]
) -> Iterator[Said]:
    """The words of standardised waves, in their order."""
    reader = search.reader(model.head)
    held: list[tuple[str, np.ndarray]] = []

    def done() -> Iterator[Said]:
        found = model.logits([wave for _, wave in held], standardise=False)
        for (name, wave_s), logits_tc in zip(held, found):
            seconds = len(wave_s) / RATE / max(len(logits_tc), 1)
            yield name, reader.words(logits_tc, seconds)
        held.clear()

    for one in logged(recordings, "transcribing"):
        held.append(one)
        if len(held) == AT_ONCE:
            yield from done()
    if held:
        yield from done()


def _recordings(
    names: Sequence[str], conv_layers: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, standardised wave) of every readable recording that is long enough."""
    least = inputs.shortest(conv_layers)
    for name in names:
        path = pathlib.Path(name).expanduser()
        listed = path.suffix.lower() == SUFFIX or segments.looks_listed(name)
        if path.is_file() and not listed:
            found = [(writable(name), _file(path))]
        elif path.is_dir():
            found = ((n, lambda wave=wave: wave) for n, wave, _ in inputs.folder_waves(path))
        else:
            source = opening.open_audio(name, "train")
            found = ((source.name(i), _record(source, i)) for i in range(len(source)))
        for shown, read in found:
            try:
                wave_s = read()
            except BadRecord as bad:
                log.warning("skipped %s: %s", shown, bad.reason)
                continue
            if len(wave_s) < least:
                log.warning("skipped %s: %d samples, one frame needs %d", shown, len(wave_s), least)
                continue
            yield shown, wave_s


def _file(path: pathlib.Path):
    return lambda: waves.standardised(path)[0]


def _record(source, index: int):
    return lambda: waves.standardised(source.read(index).data)[0]


def _txt(one: Said) -> str:
    name, words = one
    return f"{name}\t{' '.join(word.text for word in words)}\n"


def _jsonl(one: Said) -> str:
    name, words = one
    timed = [
        {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
        for word in words
    ]
    text = " ".join(word.text for word in words)
    return json.dumps({"file": name, "text": text, "words": timed}, ensure_ascii=False) + "\n"


def _subtitles(said: Iterator[Said], names: Sequence[str], out: pathlib.Path | None) -> str:
    """Writes a file for each recording; without a folder the one there is is returned."""
    made: set[pathlib.PurePath] = set()
    for name, words in said:
        text, place = _srt(words), _below(name, made)
        made.add(place)
        if out is None and len(made) > 1:
            raise UserError("--format srt of several recordings needs a folder; give --out FOLDER")
        if out is not None:
            write_whole(out.expanduser() / place, text.encode())
    if not made:
        raise UserError(f"no recording in {', '.join(map(writable, names))} could be read")
    return text if out is None else f"{len(made)} recordings transcribed, in {out}\n"


def _below(name: str, made: Container[pathlib.PurePath]) -> pathlib.PurePath:
    """Where in a folder the subtitles of a recording go; never outside of it, nor twice."""
    inside = [part for part in pathlib.PurePath(name).parts if part not in ("/", "..")]
    whole = pathlib.PurePath(*inside)
    place = whole.with_suffix(".srt")
    return whole.with_name(f"{whole.name}.srt") if place in made else place


def _srt(words: Sequence[Word]) -> str:
    """Blocks of at most ten words."""
    lines = []
    for number, first in enumerate(range(0, len(words), 10), 1):
        some = words[first : first + 10]
        text = " ".join(word.text for word in some)
        lines.append(f"{number}\n{_clock(some[0].start)} --> {_clock(some[-1].end)}\n{text}\n")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"


FORMS = {"txt": _txt, "jsonl": _jsonl}
