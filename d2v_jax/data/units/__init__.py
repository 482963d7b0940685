"""Labels of frames beside recordings: what HuBERT learns."""
