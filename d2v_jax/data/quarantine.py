"""The list of records that a run left out, with the reason: one JSON object per line."""

import json
import pathlib

from d2v_jax.common.files import write_whole


class Quarantine:
    """`quarantine.jsonl` in a run's folder; a record is named once, also over restarts."""

    def __init__(self, workdir: pathlib.Path, process_index: int = 0):
        """Each process of a run keeps its own file: that of the first has no number."""
        number = f".{process_index}" if process_index else ""
        self.path = workdir / f"quarantine{number}.jsonl"
        self._names = {fault["name"] for fault in read(self.path)}
        self._held: list[tuple[str, str]] | None = []

    def begin(self) -> None:
        """From here on the run's folder stands: what was added before is written now."""
        held, self._held = self._held or [], None
        for name, reason in held:
            self.add(name, reason)

    def add(self, name: str, reason: str) -> None:
        if self._held is not None:
            self._held.append((name, reason))
            return
        if name in self._names:
            return
        self._names.add(name)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "reason": reason}) + "\n")


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """Its entries, without a last line that a kill left half-written, which it cuts off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_whole(path, whole)
    return [json.loads(line) for line in whole.splitlines()]
