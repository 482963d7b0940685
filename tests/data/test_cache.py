"""The cache lies where people say, and holds no halves of files."""

import pathlib

import pytest

from d2v_jax.common.files import cache_folder, write_whole


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("D2V_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == tmp_path
    monkeypatch.delenv("D2V_CACHE")
    assert cache_folder() == pathlib.Path("/elsewhere/d2v_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == pathlib.Path.home() / ".cache" / "d2v_jax"


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b.json"
    write_whole(path, b"first")
    write_bytes = pathlib.Path.write_bytes

    def full(self: pathlib.Path, data: bytes) -> None:
        write_bytes(self, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]
