"""Recipes: data, importing nothing that trains. Base fields per modality, then only differences."""
