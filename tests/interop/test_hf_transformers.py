"""`transformers` loads the folders we write, and computes the recorded numbers with them.

Needs torch and transformers, which nothing else here does; without them it is skipped.
"""

import json
import pathlib

import numpy as np
import pytest

from d2v_jax.interop.fairseq.reader import read_fairseq
from d2v_jax.interop.huggingface.hf_read import read_hf
from d2v_jax.interop.huggingface.hf_write import write_hf

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASES = sorted(GOLDEN.glob("hf_*"))
PARTS = ("pad", "nopad", "masked", "nomask", "eval")
OUTPUTS = ("last_hidden_state", "pooler_output", "logits", "prediction_logits")
OUTPUTS += ("seq_relationship_logits", "projected_quantized_states")
# Recorded, but no input of the classes.
TOLD = ("labels", "next_sentence_label", "gumbel_noise")


def loaded(folder, **options):
    """The model of its own class, every parameter taken from the file and none left."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, found = getattr(transformers, name).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", **options
    )
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def computed(model, **inputs):
    with torch.no_grad():
        return model(**{name: torch.as_tensor(value) for name, value in inputs.items()})


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def inputs_of(arrays, case):
    """What the model got for the arrays whose names start with `case`."""
    given = {key.removeprefix("input/"): arrays[key] for key in arrays if key.startswith("input/")}
    given = {name: value for name, value in given.items() if name not in TOLD}
    if case == "nopad":
        given = {k: v for k, v in given.items() if k not in ("attention_mask", "token_type_ids")}
        given |= {"input_ids": arrays["nopad/input_ids"]} if "nopad/input_ids" in arrays else {}
    if case == "nomask":
        given.pop("bool_masked_pos", None)
    return given


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_recorded_outputs(case, tmp_path):
    ours, arrays = read_hf(case / "pretrained"), np.load(case / "arrays.npz")
    write_hf(tmp_path, ours.system, ours.config, ours.student, ours.head)
    model, compared = loaded(tmp_path), 0
    for part in sorted({key.split("/")[0] for key in arrays} & set(PARTS)):
        out = computed(model, **inputs_of(arrays, part))
        for name in OUTPUTS:
            if f"{part}/{name}" in arrays and name in out:
                close(out[name].numpy(), arrays[f"{part}/{name}"])
                compared += 1
    assert compared >= 1


@pytest.mark.parametrize("case", ["v1_audio", "v1_text", "v1_vision"])
def test_features_of_the_originals(case, tmp_path):
    ours, arrays = (
        read_fairseq(GOLDEN / case / "checkpoint.pt"),
        np.load(GOLDEN / case / "arrays.npz"),
    )
    write_hf(tmp_path, ours.system, ours.config, ours.student)
    options = {"add_pooling_layer": False} if case != "v1_audio" else {}
    model = loaded(tmp_path, **options)
    match case:
        case "v1_audio":
            source = arrays["input/source"]
            valid = ~arrays["input/padding_mask"]
            close(computed(model, input_values=source)[0].numpy(), arrays["features/nopad/x"])
            out = computed(model, input_values=source, attention_mask=valid.astype(np.int64))
            real = ~arrays["features/pad/padding_mask"]
            close(out[0].numpy()[real], arrays["features/pad/x"][real])
        case "v1_text":
            for part in ("nopad", "pad"):
                ids = arrays[f"features/{part}/src_tokens"]
                out = computed(model, input_ids=ids, attention_mask=(ids != 1).astype(np.int64))
                close(out[0].numpy()[ids != 1], arrays[f"features/{part}/x"][ids != 1])
        case _:
            out = computed(model, pixel_values=arrays["input/source"])
            close(out[0].numpy(), arrays["features/nopad/x"])


def test_pixels_of_the_original(tmp_path):
    ours = read_fairseq(GOLDEN / "mae" / "checkpoint.pt")
    arrays = np.load(GOLDEN / "mae" / "arrays.npz")
    for normalize, prefix in ((False, ""), (True, "norm_pix/")):
        ours.config["pixels"]["normalize"] = normalize
        write_hf(tmp_path, ours.system, ours.config, ours.student)
        given = {"pixel_values": arrays["input/image"], "noise": arrays["input/noise"]}
        out = computed(loaded(tmp_path), **given)
        close(out.loss.numpy(), arrays[f"{prefix}total_loss"])
        close(out.logits.numpy(), arrays["pred"])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert tuple(processor.image_mean) == ours.config["frontend"]["mean"]


@pytest.mark.parametrize("case", ["wav2vec2", "hubert"])
def test_speech_siblings_of_the_originals(case, tmp_path):
    ours = read_fairseq(GOLDEN / case / "checkpoint.pt")
    arrays = np.load(GOLDEN / case / "arrays.npz")
    write_hf(tmp_path, ours.system, ours.config, ours.student)
    model = loaded(tmp_path)
    inside = getattr(model, "wav2vec2", model)
    out = computed(inside, input_values=arrays["input/source"])
    close(out[0].numpy(), arrays["features/nopad/x"])


def test_preprocessors_and_letters(tmp_path):
    ours = read_hf(GOLDEN / "hf_audio_ctc" / "pretrained")
    letters = ("<pad>", "<s>", "</s>", "<unk>", "|", *map(chr, range(65, 92)))
    ours.head["labels"] = letters
    write_hf(tmp_path, ours.system, ours.config, ours.student, ours.head)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    assert extractor.sampling_rate == 16_000 and extractor.do_normalize
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = [letters.index(letter) for letter in "HHEL"] + [0] + [letters.index(c) for c in "LO|A"]
    assert tokenizer.decode(ids) == "HELLO A"
