"""Packages are found, not listed; recipes live at the top of the repository and travel along."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["d2v_jax", "d2v_jax.*"]), "d2v_jax.configs"],
    package_dir={"d2v_jax.configs": "configs"},
)
