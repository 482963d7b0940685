"""data2vec 1.0 with the encoders of Hugging Face transformers: a whole update in torch.

The student sees a masked input and learns; the teacher, a copy without gradient, sees all of it;
the targets are the mean of its last blocks, normalised; Adam; the teacher follows. Dropouts,
targets, losses and clipping are those of our recipes.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from learning import DEVICE, adam, count, device_name, mover, prepare, rounded, update, wait
from protocol import Step, serve
from torch import nn

WIDTH = 768


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe`, and the sizes of our own step: `examples`, `example_shape`, `hidden`,
    `tokens`, `target_blocks`, `clip`, `dtype`.
    """
    if spec["recipe"] not in LEARNERS:
        raise ValueError(f"has {', '.join(LEARNERS)}, not {spec['recipe']}")
    prepare()
    with torch.device(DEVICE):
        learner = LEARNERS[spec["recipe"]](spec)
    learner.train()
    optimizer = adam(learner.parameters())
    move = mover(learner.followed, learner.teacher)

    def one() -> torch.Tensor:
        with rounded(spec["dtype"]):
            loss = learner.loss()
        loss = update(loss, optimizer, spec["clip"])
        move()
        return loss

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return one, {
        "versions": versions,
        "device": device_name(),
        "dtype": spec["dtype"],
        "attention": learner.student.config._attn_implementation,
        "student": count(learner.student) + count(learner.head),
        "teacher": sum(x.numel() for x in learner.teacher.parameters() if not x.requires_grad),
        "examples": spec["examples"],
        "tokens": learner.mask.shape[1],
        "hidden": learner.mask.sum().item() / spec["examples"],
        "views": 1,
    }


class Learner(nn.Module):
    """Student, head and teacher. Masks are drawn once: what they cost is nobody's point here."""

    def __init__(self, spec: dict[str, Any], student: nn.Module, head: nn.Module):
        super().__init__()
        self.student, self.head = student, head
        self.teacher = copy.deepcopy(self.followed).requires_grad_(False)
        self.states: list[torch.Tensor] = []
        for site in list(self.sites())[-spec["target_blocks"] :]:
            site.register_forward_hook(self._keep)
        places = torch.rand(spec["examples"], spec["tokens"]).argsort(1)
        self.mask = places < round(spec["hidden"])

    @property
    def followed(self) -> nn.Module:
        """What the teacher is a copy of."""
        return self.student

    def sites(self) -> Iterable[nn.Module]:
        """Modules of the teacher, one per block, whose outputs become targets."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        self.teacher.eval()
        return self

    def _keep(self, _: nn.Module, __: tuple, out: torch.Tensor | tuple) -> None:
        self.states.append(out[0] if isinstance(out, tuple) else out)

    @torch.no_grad()
    def targets(self, teachers_input: torch.Tensor, instance: bool = False) -> torch.Tensor:
        """Mean of the last blocks' answers, each normalised over time or over channels."""
        self.states.clear()
        self.teacher(teachers_input)
        turn = (lambda x: x.transpose(1, 2)) if instance else (lambda x: x)
        normed = [F.layer_norm(turn(x), turn(x).shape[2:]) for x in self.states]
        return turn(sum(normed) / len(normed))


class Audio(Learner):
    def __init__(self, spec: dict[str, Any]):
        config = transformers.Data2VecAudioConfig(
            layerdrop=0.05, activation_dropout=0.0, attn_implementation="sdpa"
        )
        student = transformers.Data2VecAudioModel(config)
        student.feature_extractor._requires_grad = False  # or the wave gets a gradient too
        super().__init__(spec, student, nn.Linear(WIDTH, WIDTH))
        self.teacher.pos_conv_embed = student.encoder.pos_conv_embed  # borrowed
        self.wave = torch.randn(spec["examples"], *spec["example_shape"])

    @property
    def followed(self) -> nn.Module:
        return self.student.encoder  # the frontend is borrowed

    def sites(self) -> Iterable[nn.Module]:
        return (block.feed_forward.output_dense for block in self.teacher.layers)

    def loss(self) -> torch.Tensor:
        student = self.student
        frames = student.feature_extractor(self.wave).transpose(1, 2)
        tokens, _ = student.feature_projection(frames)
        targets = self.targets(tokens.detach(), instance=True)[self.mask]
        hidden = student._mask_hidden_states(tokens.clone(), mask_time_indices=self.mask)
        answers = self.head(student.encoder(hidden).last_hidden_state[self.mask])
        return F.mse_loss(answers, targets, reduction="sum") / len(targets) * WIDTH**-0.5


class Image(Learner):
    def __init__(self, spec: dict[str, Any]):
        config = transformers.Data2VecVisionConfig(
            use_mask_token=True,
            use_shared_relative_position_bias=True,
            use_mean_pooling=False,
            layer_scale_init_value=1e-4,
            drop_path_rate=0.25,
            attention_probs_dropout_prob=0.05,
            attn_implementation="sdpa",
        )
        student = transformers.Data2VecVisionModel(config, add_pooling_layer=False)
        super().__init__(spec, student, nn.Linear(WIDTH, WIDTH))
        self.pixels = torch.randn(spec["examples"], 3, *spec["example_shape"][:2])

    def sites(self) -> Iterable[nn.Module]:
        return self.teacher.encoder.layer

    def loss(self) -> torch.Tensor:
        targets = F.layer_norm(self.targets(self.pixels)[:, 1:][self.mask], (WIDTH,))
        out = self.student(self.pixels, bool_masked_pos=self.mask).last_hidden_state
        return F.smooth_l1_loss(self.head(out[:, 1:][self.mask]), targets, beta=2.0)


class Text(Learner):
    def __init__(self, spec: dict[str, Any]):
        config = transformers.Data2VecTextConfig(
            vocab_size=50_265,
            max_position_embeddings=514,
            type_vocab_size=1,
            pad_token_id=1,
            layer_norm_eps=1e-5,
            attn_implementation="sdpa",
        )
        student = transformers.Data2VecTextModel(config, add_pooling_layer=False)
        head = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        super().__init__(spec, student, head)
        self.ids = torch.randint(4, 50_000, (spec["examples"], *spec["example_shape"]))

    @property
    def followed(self) -> nn.Module:
        return self.student.encoder  # the embeddings are borrowed

    def sites(self) -> Iterable[nn.Module]:
        return (block.output.dense for block in self.teacher.layer)

    @torch.no_grad()
    def embedded(self) -> torch.Tensor:
        """The whole text, without dropout."""
        table = self.student.embeddings.eval()
        tokens = table(self.ids)
        table.train()
        return tokens

    def loss(self) -> torch.Tensor:
        targets = self.targets(self.embedded())[self.mask]
        shown = self.ids.masked_fill(self.mask, 50_264)
        answers = self.head(self.student(shown).last_hidden_state[self.mask])
        return F.smooth_l1_loss(answers, targets, beta=4.0, reduction="sum") / len(targets)


LEARNERS = {"v1_audio_base": Audio, "v1_image_base": Image, "v1_text_base": Text}

if __name__ == "__main__":
    serve(build, wait)
