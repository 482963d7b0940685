"""The fields that every modality has, with their meaning and unit.

`audio.py`, `image.py` and `text.py` add what only they have and give the values of data2vec 2.0
base; recipes state only differences from those.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Returns every shared field."""
    c = config_dict.ConfigDict()
    c.recipe = ""  # name, written into the run
    # "audio", "image", "text", or a module of yours that offers Frontend and Data: what an example
    # is. Picks the sections `frontend` and `data`.
    c.modality = ""
    # "data2vec", or a module of yours that offers Objective: what is learnt. Picks the sections
    # that are its own.
    c.objective = "data2vec"
    c.seed = 0  # every random draw is a function of it
    # Devices as a grid, such as "data:-1" or "data:2,fsdp:-1"; -1: all that remain. Examples are
    # split over both axes; student, teacher and optimiser over "fsdp", copied over "data".
    c.mesh = "data:-1"
    c.profile = ""  # "steps:10..12": a trace of these steps for TensorBoard, in the run folder
    # A run folder or anyone's checkpoint to start from, student and teacher; "": fresh numbers.
    c.init_from = ""

    c.data = config_dict.ConfigDict()
    c.data.source = ""  # where examples come from; what each modality reads is said there
    c.data.split = "train"  # TFDS split; other sources have only "train"
    # What is learnt of each example beside itself: "none", its "class", a "value", the "letters"
    # that are said, its "tags". What the numbers stand for, in order; (): as the source names
    # them. At most `per_class` examples of each; 0: all.
    c.data.labels = "none"
    c.data.label_names = ()
    c.data.per_class = 0
    c.data.balance = False  # rare classes and tags are drawn as often as common ones
    # Of several sources, "A + B": the share of examples from each; (): by their sizes, each to
    # the power of 1 / temperature.
    c.data.weights = ()
    c.data.temperature = 1.0
    c.data.threads = 8  # reading threads per process (they release the GIL)
    c.data.workers = 0  # reading processes; threads are faster unless transforms are Python
    c.data.max_bad_share = 0.05  # stop when a larger share of the records is unreadable

    c.frontend = config_dict.ConfigDict()

    c.positions = config_dict.ConfigDict()
    # What is added to the tokens. "sincos": fixed 2-D codes; "conv": a stack of convolutions
    # over the tokens; "normed_conv": a single wide one, weight-normed (wav2vec 2.0); "none" (text:
    # learned positions are part of its frontend).
    c.positions.add = "none"
    # What attention adds to its logits. "alibi": -slope * scale * distance, one learned scale
    # per head; "relative": a learned table of 2-D offsets, shared by all blocks;
    # "relative_per_block": one table per block; "none".
    c.positions.bias = "none"
    c.positions.conv_layers = 5  # of "conv" (§1.3); likewise the next two
    c.positions.conv_kernel = 19
    c.positions.conv_groups = 16
    # Where padded tokens are set to zero, so that they cannot reach others (T16): "each_layer"
    # of the conv stack; only at its "input" (as 1.0); "never" (as 2.0).
    c.positions.zero_padding = "each_layer"

    c.trunk = config_dict.ConfigDict()
    c.trunk.width = 768  # D
    c.trunk.heads = 12
    c.trunk.prenet_depth = 0  # blocks before the shared trunk; never averaged into targets
    c.trunk.depth = 12  # blocks of the trunk
    c.trunk.mlp_ratio = 4.0  # MLP width / D
    # "post_norm": norm after each residual; "pre_norm": norm before each branch, layer scale,
    # no key bias (§1.4, block B); "plain_pre_norm": without layer scale, with key bias. "gru",
    # "lstm": no Transformer but recurrent layers, which know what came before alone.
    c.trunk.block = "post_norm"
    c.trunk.input_norm = True  # a layer norm in front of the first block
    c.trunk.output_norm = False  # and one behind the last
    c.trunk.norm_eps = 1e-5  # of every affine layer norm in prenet and trunk
    c.trunk.prefix_tokens = 0  # learned tokens in front (cls)
    c.trunk.layer_scale = 1e-4  # initial factor of each branch, "pre_norm" only
    # Initial values. "bert": N(0, 0.02); "beit": the same cut at one deviation, the last
    # matrix of branch pair i divided by sqrt(2 i) (§6.2); "xavier": as masked autoencoders.
    c.trunk.init = "bert"
    c.trunk.input_dropout = 0.0  # behind the input norm; all of these act on the student alone
    c.trunk.dropout = 0.0  # of each branch
    c.trunk.attention_dropout = 0.0  # of attention weights
    c.trunk.activation_dropout = 0.0  # of the MLP's units
    c.trunk.drop_path = 0.0  # of whole branches per example, rising linearly to this (§1.11)
    # Where it rises: "trunk", or "both" prenet and trunk (fine-tuned images of 2.0, §12.3).
    c.trunk.drop_path_ramp = "trunk"
    c.trunk.layer_drop = 0.0  # of whole blocks per step
    # On accelerators: parts of each device's rows whose attention is computed one after the other,
    # and once more on the way back: logits are not kept and need not leave fast memory. 1: all.
    c.trunk.attention_parts = 4
    # On NVIDIA GPUs from Ampere on, in bfloat16 and where attention drops no weights: by cuDNN's
    # kernel, which keeps no logits. Off: no GPU has run it yet, sums on the way back are in no
    # fixed order, and where cuDNN refuses a size the run ends (docs/devices.md).
    c.trunk.fused_attention = False
    # What is computed again on the way back, to save memory: "none", "blocks" (all but their
    # inputs), "cheap" (all but the results of matrix products).
    c.trunk.remat = "none"
    # One block is compiled and run for each, on stacked parameters: deep models compile faster,
    # but need room for a second copy of their parameters and for all layers of the teacher.
    c.trunk.scan = False
    c.trunk.dtype = "bfloat16"  # compute; parameters, norms, softmax, losses stay float32

    c.mask = config_dict.ConfigDict()
    # What becomes of hidden tokens. "remove": the encoder never gets them (2.0); "replace": a
    # learned embedding stands in their place; "input": the id of `<mask>` does (1.0 text).
    c.mask.hide = "remove"
    # How they are drawn: "blocks" (§9.3), "inverse_blocks" (§10.3), "random" (§11.2),
    # "spans" (§5.3), "clipped_spans" (§7.3), "beit" (§6.3).
    c.mask.kind = "random"
    c.mask.share = 0.5  # hidden share; of "spans" and "clipped_spans" before overlap
    c.mask.adjust = 0.0  # "blocks", "inverse_blocks": added to the share when counting blocks
    c.mask.block = 1  # length of a span or block, side of a square; "beit": least area
    # "spans": masks are trimmed to the least count among this many; the neighbours are drawn
    # for each example alone, where the original takes its batch (T7). 1: no trimming.
    c.mask.neighbours = 1
    c.mask.views = 1  # M, masked views per example; one teacher pass serves them all
    # Parts of an example's views computed one after the other, to save memory; costs the student's
    # pass again.
    c.mask.micro_views = 1

    c.decoder = config_dict.ConfigDict()
    c.decoder.layers = 0  # convolutions over all places (§1.9); 0: the projection alone
    c.decoder.width = 768  # channels of the conv layers
    c.decoder.kernel = 3  # length, or side, of their windows
    c.decoder.groups = 16
    c.decoder.residual = True  # a conv layer adds its input where the widths match
    c.decoder.hidden = ()  # widths between linear maps of the projection
    c.decoder.init = "torch"  # of the projection: "torch" U(1/sqrt(fan_in)), or as `trunk.init`
    c.decoder.noise_std = 0.01  # of the random filler at hidden places, "remove" only
    c.decoder.input_dropout = 0.0  # of the encoder's output, before the filler

    c.targets = config_dict.ConfigDict()
    c.targets.blocks = tuple(range(12))  # trunk blocks averaged, counted from 0
    c.targets.site = "ffn"  # "ffn": feed-forward output before the residual; "block": block output
    # Per layer, in order: "instance" (over T), "layer" (over D).
    c.targets.layer_norms = ("instance",)
    c.targets.final_norms = ()  # after averaging, in order

    c.loss = config_dict.ConfigDict()
    c.loss.beta = 0.0  # 0: squared error; > 0: smooth L1 with this transition
    c.loss.scale = config_dict.placeholder(float)  # factor on the sum over D; unset: 1 / sqrt(D)
    # Weight of the mean cls term: 0.01 x images per device x views of the original run (T21).
    c.loss.cls_weight = 0.0

    c.teacher = config_dict.ConfigDict()
    # What it is shown. "tokens": those of the student's frontend; "inputs": the inputs, through
    # its frontend; "hidden": only the hidden inputs, padding elsewhere (1.0 text as released, T1).
    c.teacher.sees = "tokens"
    # Parts of the tree the teacher averages; the rest is borrowed from the student (§2.1).
    c.teacher.owns = ("trunk",)
    # In a run with `init_from`: the "checkpoint"'s own teacher, or a copy of its "student".
    c.teacher.starts_as = "checkpoint"
    c.teacher.decay_start = 0.999  # EMA decay at step 0
    c.teacher.decay_end = 0.99999  # and after `decay_steps`
    c.teacher.decay_steps = 75_000  # linear in between

    c.optimizer = config_dict.ConfigDict()
    c.optimizer.learning_rate = 1e-3  # peak
    # Linear warm-up from start_share * peak, peak for `hold_steps`, then down to
    # end_share * peak at `train.steps`: "cosine", "exponential" (tri-stage) or "linear".
    c.optimizer.schedule = "cosine"
    c.optimizer.warmup_steps = 0
    c.optimizer.hold_steps = 0
    c.optimizer.start_share = 0.0
    c.optimizer.end_share = 0.0
    # Where eps is added. "fairseq": to the un-bias-corrected sqrt(v) (T24); "torch": to the
    # corrected one.
    c.optimizer.adam = "fairseq"
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.98
    c.optimizer.eps = 1e-6
    c.optimizer.weight_decay = 0.01  # decoupled, multiplied by the learning rate
    # "all": every parameter decays, as in the original runs (T19). "matrices": not biases,
    # norms, scales and prefix tokens.
    c.optimizer.decays = "all"
    # Below 1: each block learns so many times as fast as the one above it (REFERENCE §12.2), and
    # with `decay_before` what lies below the first block slower still.
    c.optimizer.layer_decay = 1.0
    c.optimizer.decay_before = False
    c.optimizer.same_end = False  # slower ones end at end_share * peak too, not at a part of it
    # Factors of the learning rate, and updates in which parameters stand still (-1: always), by
    # patterns of their paths as d2v inspect lists them, as in (("head/*", 10.0),). The first
    # pattern that matches holds.
    c.optimizer.rates = ()
    c.optimizer.frozen = ()
    c.optimizer.clip = 0.0  # global gradient norm; 0: none

    c.eval = config_dict.ConfigDict()
    # Steps between evaluations, written into metrics.jsonl as eval/...; 0: none. Of pretraining:
    # probes of frozen features.
    c.eval.every = 0
    c.eval.source = ""  # as data.source; "": the same
    c.eval.split = ""  # as data.split; "": what is called test or validation there
    c.eval.examples = 2_000  # at most; 0: all
    c.eval.metrics = ()  # such as ("accuracy", "f1"); (): what is usual for the labels

    c.train = config_dict.ConfigDict()
    c.train.steps = 400_000  # updates
    c.train.batch_size = 256  # examples per update, over all devices
    c.train.micro_batches = 1  # parts of a batch computed one after the other, to save memory
    c.train.log_every = 50  # steps between records in metrics.jsonl
    c.train.checkpoint_every = 1_000  # steps between checkpoints
    c.train.keep = 2  # newest checkpoints kept
    c.train.keep_best = 0  # and those with the best `best_metric` when they were written
    c.train.best_metric = "loss"  # a name in metrics.jsonl; lower is better, "-NAME": higher
    c.train.stop_after = 0.0  # hours after which a run saves and ends, to be continued; 0: never
    c.train.most_skipped = 20  # updates in a row that are not finite before the run ends
    return c


def borrowed(c: config_dict.ConfigDict, lender: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """`c`, whose encoder, data, optimizer and length are those of `lender`."""
    for section in ("data", "frontend", "positions", "trunk", "optimizer", "eval", "train"):
        c[section] = lender[section]
    return c


def variant(
    c: config_dict.ConfigDict,
    arg: str,
    smoke,
    shrink: int = 1,
    micro_batches: int = 1,
) -> config_dict.ConfigDict:
    """Returns the recipe as it is for "", shrunk for "smoke", or its "budget" variant.

    `smoke` takes and returns a recipe; `shrink` and `micro_batches` describe the budget, and a
    recipe that has none leaves them 1.
    """
    if arg == "smoke":
        return smoke(c)
    if arg == "budget" and max(shrink, micro_batches) > 1:
        return budget(c, shrink, micro_batches)
    if arg:
        known = "':smoke'" + (" and ':budget'" if max(shrink, micro_batches) > 1 else "")
        raise ValueError(f"recipe {c.recipe} has no variant {arg!r}; there is {known}")
    return c


def budget(c: config_dict.ConfigDict, shrink: int, micro_batches: int) -> config_dict.ConfigDict:
    """The same recipe for one to eight devices, seeing the same data in all.

    Batches are `shrink` times smaller and as many times more, the learning rate falls with the
    square root of the batch (Adam), warm-up and ramps keep their length in examples, and the
    teacher its half-life in examples: its decay becomes decay ** (1 / shrink).
    """
    c.recipe = f"{c.recipe}:budget"
    c.train.batch_size //= shrink
    c.train.micro_batches = micro_batches
    c.optimizer.learning_rate /= shrink**0.5
    c.train.steps *= shrink
    c.optimizer.warmup_steps *= shrink
    c.optimizer.hold_steps *= shrink
    if "teacher" in c:
        c.teacher.decay_start **= 1 / shrink
        c.teacher.decay_end **= 1 / shrink
        c.teacher.decay_steps *= shrink
    return c


def shrink_model(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The part of every `smoke` that no modality changes: 30 steps of a small model."""
    if "targets" in c:
        kept = len(c.targets.blocks) / c.trunk.depth
        c.targets.blocks = tuple(range(3 - max(1, round(3 * kept)), 3))
        if c.loss.scale == 1 / c.trunk.width:  # a mean over D
            c.loss.scale = 1 / 32
        c.decoder.width, c.decoder.groups = 32, min(c.decoder.groups, 4)
        c.decoder.layers = min(c.decoder.layers, 2)
        c.decoder.hidden = tuple(64 for _ in c.decoder.hidden)
        c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.99, 0.999, 20
    c.trunk.width, c.trunk.heads = 32, 4
    c.trunk.prenet_depth = min(c.trunk.prenet_depth, 1)
    c.trunk.depth = 3
    c.trunk.dtype = "float32"
    c.positions.conv_groups = 4
    c.mask.views = min(c.mask.views, 2)
    c.mask.neighbours = min(c.mask.neighbours, 4)
    c.optimizer.learning_rate = 5e-3
    c.optimizer.warmup_steps, c.optimizer.hold_steps = 5, min(c.optimizer.hold_steps, 10)
    c.data.threads = 2
    c.train.steps, c.train.batch_size, c.train.micro_batches = 30, 8, 1
    c.mask.micro_views = 1
    c.train.log_every, c.train.checkpoint_every = 1, 10
    return c
