"""The papers live here and nowhere else: masks, targets, loss, teacher, decoder, model."""
