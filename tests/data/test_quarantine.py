"""What was left out is named once, with the reason, also over kills and restarts."""

from d2v_jax.data.quarantine import Quarantine, read


def test_once_each_over_restarts(tmp_path):
    first = Quarantine(tmp_path)
    first.begin()
    assert not first.path.exists()
    first.add("a/ü.jpg", "truncated")
    first.add("a/ü.jpg", "truncated")
    with open(first.path, "a") as file:
        file.write('{"name": "half')  # a kill in the middle of a line
    second = Quarantine(tmp_path)
    second.begin()
    second.add("b.jpg", "empty")
    second.add("a/ü.jpg", "truncated")
    assert read(first.path) == [
        {"name": "a/ü.jpg", "reason": "truncated"},
        {"name": "b.jpg", "reason": "empty"},
    ]


def test_each_process_has_its_own(tmp_path):
    assert Quarantine(tmp_path, 1).path.name == "quarantine.1.jsonl"
    assert Quarantine(tmp_path, 0).path.name == "quarantine.jsonl"
