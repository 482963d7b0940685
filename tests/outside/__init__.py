"""What strangers bring: an objective and two modalities, without a line in d2v_jax."""
