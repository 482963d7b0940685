"""data2vec 1.0 with the encoders of Hugging Face transformers: a whole update in torch.

The student sees a masked input and learns; the teacher, a copy without gradient, sees all of it;
the targets are the mean of its last blocks, normalised; Adam; the teacher follows.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from learning import adam, count, mover, prepare, update
from protocol import Step, serve
from torch import nn


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe`, and the sizes of our own step: `examples`, `example_shape`, `hidden`,
    `tokens`, `target_blocks`.
    """
    prepare()
    learner = LEARNERS[spec["recipe"]](spec)
    learner.train()
    optimizer = adam(learner.parameters())
    move = mover(learner.followed, learner.teacher)

    def one() -> float:
        loss = update(learner.loss(), optimizer)
        move()
        return loss

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return one, {
        "versions": versions,
        "student": count(learner) - count(learner.teacher),
        "teacher": count(learner.teacher),
        "examples": spec["examples"],
        "tokens": spec["tokens"],
        "hidden": spec["hidden"],
        "views": 1,
    }


class Learner(nn.Module):
    """Student, head and teacher. Masks are drawn once: what they cost is nobody's point here."""

    def __init__(self, spec: dict[str, Any], student: nn.Module, head: nn.Module):
        super().__init__()
        self.student, self.head = student, head
        self.teacher = copy.deepcopy(self.followed).eval().requires_grad_(False)
        self.states: list[torch.Tensor] = []
        blocks = (
            self.teacher.layers if hasattr(self.teacher, "layers") else (self.teacher.encoder.layer)
        )
        for block in blocks[-spec["target_blocks"] :]:
            block.register_forward_hook(self._keep)
        places = torch.rand(spec["examples"], spec["tokens"]).argsort(1)
        self.mask = places < spec["hidden"]

    @property
    def followed(self) -> nn.Module:
        """What the teacher is a copy of."""
        return self.student

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        self.teacher.eval()
        return self

    def _keep(self, _: nn.Module, __: tuple, out: torch.Tensor | tuple) -> None:
        self.states.append(out[0] if isinstance(out, tuple) else out)

    @torch.no_grad()
    def targets(self, teachers_input: torch.Tensor, instance: bool) -> torch.Tensor:
        """Mean of the last blocks' outputs, each normalised over time or over channels."""
        self.states.clear()
        self.teacher(teachers_input)
        axis, total = 1 if instance else 2, 0
        for state in self.states:
            state = state - state.mean(axis, keepdim=True)
            total = total + state * (state.square().mean(axis, keepdim=True) + 1e-5).rsqrt()
        return total / len(self.states)


class Audio(Learner):
    def __init__(self, spec: dict[str, Any]):
        config = transformers.Data2VecAudioConfig(layerdrop=0.05, attn_implementation="sdpa")
        student = transformers.Data2VecAudioModel(config)
        super().__init__(spec, student, nn.Linear(768, 768))
        self.wave = torch.randn(spec["examples"], *spec["example_shape"])

    @property
    def followed(self) -> nn.Module:
        return self.student.encoder  # the frontend is borrowed

    def loss(self) -> torch.Tensor:
        student = self.student
        frames = student.feature_extractor(self.wave).transpose(1, 2)
        tokens, _ = student.feature_projection(frames)
        targets = self.targets(tokens.detach(), instance=True)[self.mask]
        hidden = student._mask_hidden_states(tokens.clone(), mask_time_indices=self.mask)
        answers = self.head(student.encoder(hidden).last_hidden_state[self.mask])
        return F.mse_loss(answers, targets) * 768**-0.5


class Image(Learner):
    def __init__(self, spec: dict[str, Any]):
        # `sdpa` cannot return what BEiT's relative positions need in all versions; transformers
        # chooses.
        config = transformers.Data2VecVisionConfig(
            use_mask_token=True, use_shared_relative_position_bias=True, drop_path_rate=0.25
        )
        student = transformers.Data2VecVisionModel(config, add_pooling_layer=False)
        super().__init__(spec, student, nn.Linear(768, 768))
        self.pixels = torch.randn(spec["examples"], 3, 224, 224)

    def loss(self) -> torch.Tensor:
        targets = self.targets(self.pixels, instance=False)[:, 1:][self.mask]
        out = self.student(self.pixels, bool_masked_pos=self.mask).last_hidden_state
        return F.smooth_l1_loss(self.head(out[:, 1:][self.mask]), targets, beta=2.0)


class Text(Learner):
    def __init__(self, spec: dict[str, Any]):
        config = transformers.Data2VecTextConfig(
            vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
            attn_implementation="sdpa",
        )  # fmt: skip
        student = transformers.Data2VecTextModel(config, add_pooling_layer=False)
        head = nn.Sequential(nn.Linear(768, 1536), nn.GELU(), nn.Linear(1536, 768))
        super().__init__(spec, student, head)
        self.ids = torch.randint(4, 50_000, (spec["examples"], *spec["example_shape"]))

    def loss(self) -> torch.Tensor:
        targets = self.targets(self.ids, instance=False)[self.mask]
        shown = self.ids.masked_fill(self.mask, 50_264)
        out = self.student(shown).last_hidden_state
        return F.smooth_l1_loss(self.head(out[self.mask]), targets, beta=4.0)


LEARNERS = {"v1_audio_base": Audio, "v1_image_base": Image, "v1_text_base": Text}

if __name__ == "__main__":
    serve(build)
