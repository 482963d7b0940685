"""Single numbers: where each must arrive."""

A, P, T = (f"modality_encoders.{tag}" for tag in ("AUDIO", "IMAGE", "TEXT"))
S = "encoder.sentence_encoder"

# Case -> (leaf of ours, index, key of theirs, index).
PLACES = {
    "v1_audio": [
        (
            "frontend/conv_01/kernel",
            (2, 5, 7),
            "feature_extractor.conv_layers.1.0.weight",
            (7, 5, 2),
        ),
        ("frontend/conv_03/scale", (4,), "feature_extractor.conv_layers.3.2.1.weight", (4,)),
        ("frontend/norm/bias", (3,), "layer_norm.bias", (3,)),
        ("frontend/proj/kernel", (3, 5), "post_extract_proj.weight", (5, 3)),
        ("positions/conv_04/kernel", (18, 3, 31), "encoder.pos_conv.4.0.weight", (31, 3, 18)),
        ("prenet/norm/scale", (3,), "encoder.layer_norm.weight", (3,)),
        ("mask/embedding", (9,), "mask_emb", (9,)),
        (
            "trunk/block_01/attention/qkv/kernel",
            (3, 5),
            "encoder.layers.1.self_attn.q_proj.weight",
            (5, 3),
        ),
        (
            "trunk/block_01/attention/qkv/kernel",
            (3, 37),
            "encoder.layers.1.self_attn.k_proj.weight",
            (5, 3),
        ),
        (
            "trunk/block_01/attention/qkv/bias",
            (69,),
            "encoder.layers.1.self_attn.v_proj.bias",
            (5,),
        ),
        ("trunk/block_02/norm1/scale", (3,), "encoder.layers.2.self_attn_layer_norm.weight", (3,)),
        ("trunk/block_02/norm2/bias", (3,), "encoder.layers.2.final_layer_norm.bias", (3,)),
        ("trunk/block_00/mlp/fc1/kernel", (3, 99), "encoder.layers.0.fc1.weight", (99, 3)),
        ("decoder/proj_00/kernel", (3, 5), "final_proj.weight", (5, 3)),
    ],
    "v1_text": [
        ("frontend/tokens/embedding", (98, 3), f"{S}.embed_tokens.weight", (98, 3)),
        ("frontend/positions/embedding", (7, 3), f"{S}.embed_positions.weight", (7, 3)),
        ("frontend/norm/scale", (3,), f"{S}.layernorm_embedding.weight", (3,)),
        (
            "trunk/block_00/attention/out/kernel",
            (3, 5),
            f"{S}.layers.0.self_attn.out_proj.weight",
            (5, 3),
        ),
        ("decoder/proj_00/kernel", (3, 60), "encoder.regression_head.0.weight", (60, 3)),
        ("decoder/proj_01/bias", (3,), "encoder.regression_head.2.bias", (3,)),
    ],
    "v1_vision": [
        ("frontend/patch/kernel", (2, 5, 1, 7), "patch_embed.proj.weight", (7, 1, 2, 5)),
        ("prefix/tokens", (0, 3), "cls_token", (0, 0, 3)),
        ("mask/embedding", (3,), "mask_token", (0, 0, 3)),
        (
            "positions/relative/table",
            (200, 3),
            "rel_pos_bias.relative_position_bias_table",
            (200, 3),
        ),
        ("trunk/block_01/attention/qkv/kernel", (3, 70), "blocks.1.attn.qkv.weight", (70, 3)),
        ("trunk/block_01/attention/v_bias", (3,), "blocks.1.attn.v_bias", (3,)),
        ("trunk/block_02/gamma1", (3,), "blocks.2.gamma_1", (3,)),
        ("trunk/block_02/gamma2", (3,), "blocks.2.gamma_2", (3,)),
        ("trunk/norm/scale", (3,), "norm.weight", (3,)),
        ("decoder/proj_00/kernel", (3, 5), "lm_head.weight", (5, 3)),
    ],
    "v2_audio": [
        ("frontend/proj/kernel", (3, 5), f"{A}.project_features.2.weight", (5, 3)),
        ("frontend/norm/scale", (3,), f"{A}.project_features.1.weight", (3,)),
        (
            "positions/conv_00/kernel",
            (1, 2, 3),
            f"{A}.relative_positional_encoder.1.0.weight",
            (3, 2, 1),
        ),
        ("positions/alibi_scale", (4,), f"{A}.alibi_scale", (0, 0, 4, 0, 0)),
        ("prenet/norm/bias", (3,), f"{A}.context_encoder.norm.bias", (3,)),
        ("decoder/conv_02/kernel", (6, 2, 23), f"{A}.decoder.blocks.2.0.weight", (23, 2, 6)),
    ],
    "v2_image": [
        ("frontend/patch/kernel", (2, 5, 1, 7), f"{P}.local_encoder.proj.weight", (7, 1, 2, 5)),
        ("prefix/tokens", (0, 3), f"{P}.extra_tokens", (0, 0, 3)),
        ("trunk/block_01/attention/qkv/kernel", (3, 50), "blocks.1.attn.qkv.weight", (50, 3)),
        ("trunk/block_02/attention/out/kernel", (3, 5), "blocks.2.attn.proj.weight", (5, 3)),
        ("prenet/block_00/norm2/scale", (3,), f"{P}.context_encoder.blocks.0.norm2.weight", (3,)),
        ("decoder/conv_02/kernel", (0, 2, 7, 9), f"{P}.decoder.blocks.2.0.weight", (9, 7, 0, 2)),
    ],
    "v2_text": [
        (
            "frontend/positions/embedding",
            (7, 3),
            f"{T}.local_encoder.embed_positions.weight",
            (7, 3),
        ),
        ("decoder/proj_00/kernel", (3, 60), f"{T}.decoder.proj.0.weight", (60, 3)),
        ("decoder/proj_01/kernel", (60, 3), f"{T}.decoder.proj.2.weight", (3, 60)),
    ],
}
