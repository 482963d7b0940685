"""What a compiled program does, read from its text: operations, how often, from which line."""

import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Iterator

ROOT = str(pathlib.Path(__file__).resolve().parents[1])  # of our sources
PLUMBING = ("nn/products.py",)  # lines that say nothing of what is computed
BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}
COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# name, what it makes, opcode, and the rest of the line.
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
TABLE = re.compile(r"^(\d+) (.*)$")
NUMBERS = re.compile(r"(\w+)=(\d+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    made: str  # type, shape and layout of the result
    opcode: str
    rest: str

    @property
    def cycles(self) -> int:
        """What the compiler expects it to take; 0 where it does not say (not on TPUs)."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0

    @property
    def op_name(self) -> str:
        """JAX's name of the operation, with the modules around it."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def bytes(self) -> int:
        """Of the result, all parts of a tuple together."""
        return sum(
            BYTES[kind] * math.prod(int(side) for side in sides.split(",") if side)
            for kind, sides in ARRAY.findall(self.made)
            if kind in BYTES
        )

    def called(self, role: str) -> str | None:
        """The computation that it runs as `body`, `condition`, `to_apply` ..."""
        found = re.search(rf"\b{role}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None


@dataclasses.dataclass(frozen=True)
class Collective:
    """What devices tell each other in one operation of a step."""

    opcode: str
    bytes: int  # of the whole arrays, once
    devices: int  # that take part
    times: int  # in a step
    op_name: str

    @property
    def sent(self) -> float:
        """Bytes that each device sends in one step, around a ring."""
        rounds = 2 if self.opcode == "all-reduce" else 1
        return self.times * rounds * self.bytes * (self.devices - 1) / max(self.devices, 1)


class Program:
    """The text of a compiled program, `jax.stages.Compiled.as_text()`."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        self._tables: dict[str, dict[int, str]] = {}
        inside: list[Instruction] | None = None
        table: dict[int, str] | None = None
        for line in text.splitlines():
            if inside is None and (head := COMPUTATION.match(line)):
                inside, table = self.computations.setdefault(head[2], []), None
                if head[1]:
                    self.entry = head[2]
            elif line == "}":
                inside = None
            elif inside is not None:
                if found := INSTRUCTION.match(line):
                    inside.append(Instruction(*found.groups()))
            elif line in TABLES:
                table = self._tables.setdefault(line, {})
            elif table is not None and (row := TABLE.match(line)):
                table[int(row[1])] = row[2]

    def operations(
        self, computation: str = "", times: int = 1
    ) -> Iterator[tuple[Instruction, int]]:
        """Every instruction that runs by itself, and how often in one run of the program.

        What is fused into another is part of that. Of the branches of a condition all are counted.
        """
        for one in self.computations[computation or self.entry]:
            yield one, times
            if one.opcode == "while":
                yield from self.operations(one.called("body"), times * self._runs(one))
            elif one.opcode == "call":
                yield from self.operations(one.called("to_apply"), times)
            elif one.opcode == "conditional":
                for branch in _branches(one.rest):
                    yield from self.operations(branch, times)

    def instructions(self) -> Iterator[Instruction]:
        """Every one, also those that are fused into others."""
        for inside in self.computations.values():
            yield from inside

    @property
    def cycles(self) -> int:
        """The compiler's estimate of one run, operations one after the other."""
        return sum(one.cycles * times for one, times in self.operations())

    def collectives(self) -> list[Collective]:
        """All that devices tell each other, the largest first."""
        found = [
            Collective(
                one.opcode.removesuffix("-start"),
                _gathered(one),
                _group(one.rest),
                times,
                one.op_name,
            )
            for one, times in self.operations()
            if one.opcode.removesuffix("-start") in COLLECTIVES
        ]
        return sorted(found, key=lambda one: -one.sent)

    def line(self, instruction: Instruction) -> str:
        """The innermost line of ours that an instruction comes from, as in "nn/conv.py:78"."""
        found = re.search(r"stack_frame_id=(\d+)", instruction.rest)
        frame = int(found[1]) if found else 0
        while frame:
            name, number, parent = self._frame(frame)
            ours = name[len(ROOT) + 1 :]
            if name.startswith(ROOT) and ours not in PLUMBING:
                return f"{ours}:{number}"
            frame = parent
        return ""

    @functools.cache  # noqa: B019 - a program lives as long as its plan is made
    def _frame(self, frame: int) -> tuple[str, int, int]:
        fields = dict(NUMBERS.findall(self._tables["StackFrames"][frame]))
        place = int(fields["file_location_id"])
        where = dict(NUMBERS.findall(self._tables["FileLocations"][place]))
        name = self._tables["FileNames"][int(where["file_name_id"])].strip('"')
        # The number of a frame's parent is written one too high: that of a frame without is 1.
        return name, int(where["line"]), int(fields["parent_frame_id"]) - 1

    def _runs(self, loop: Instruction) -> int:
        """Of a loop's body: as the compiler knows it, or the bound that its counter is held to."""
        if found := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(found[1])
        bounds = [
            int(one.rest.split(")")[0])
            for one in self.computations[loop.called("condition")]
            if one.opcode == "constant" and one.made.startswith("s32[]")
        ]
        return max(bounds, default=1)


def _branches(rest: str) -> list[str]:
    if found := re.search(r"branch_computations=\{([^}]*)\}", rest):
        return [name.strip().lstrip("%") for name in found[1].split(",")]
    return re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", rest)


def _gathered(one: Instruction) -> int:
    """Bytes of the whole arrays that a collective is about."""
    size = one.bytes
    if one.opcode == "all-gather-start":  # shows the parts beside the whole
        size = size * _group(one.rest) // (_group(one.rest) + 1)
    if one.opcode.startswith("reduce-scatter"):
        size *= _group(one.rest)
    return size


def _group(rest: str) -> int:
    """How many devices take part in a collective."""
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(found[2])
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return found[1].count(",") + 1
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", found[2]))
    return 1
