"""The papers of the house: what code cites is there, links lead somewhere, README stays short."""

import importlib
import pathlib
import re

import pytest

from d2v_jax.cli import main

ROOT = pathlib.Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "tpu" / "README.md",
    ]
)
CITING = sorted(
    path
    for room in ("d2v_jax", "configs", "tests", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
    if path.name != "test_docs.py"
)

SECTION = re.compile(r"§ ?(\d+(?:\.\d+)*)")
TRAP = re.compile(r"\bT(\d{1,2})\b")
OTHER_BOOK = re.compile(r"\b(?!REFERENCE)([A-Z][A-Z_]{3,}) ?§")
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
TASK = re.compile(r"^    (\w[\w-]*)(?:\s|$)", re.MULTILINE)
RECIPE = re.compile(
    r"`((?:quickstart|v\d|finetune|wav2vec2|hubert|bert|roberta|mae|cpc|best_rq)_\w+)`"
)
NO_FIELDS = ("train.tsv", "data.md")


def cited(text: str) -> set[str]:
    """The anchors of what a text cites: "§1.3, §1.9" -> s1.3, s1.9; "T24, T25" -> t24, t25."""
    sections = {f"s{number}" for number in SECTION.findall(text)}
    return sections | {f"t{number}" for number in TRAP.findall(text)}


def anchors(page: str) -> list[str]:
    """What a link can point at in a page: explicit anchors, and headings as GitHub names them."""
    prose = FENCED.sub("", page)
    headings = [re.sub(r"[^\w\- ]", "", ANCHOR.sub("", one)) for one in HEADING.findall(prose)]
    slugs = [one.strip().lower().replace(" ", "-") for one in headings]
    return ANCHOR.findall(prose) + slugs


def test_what_counts_as_a_citation():
    text = "(REFERENCE §5.2, §6.2) (§9.3, §10.3) §12 (REFERENCE §2.1, T2) T24, T25; [b, T, D], T=9"
    assert cited(text) == {"s5.2", "s6.2", "s9.3", "s10.3", "s12", "s2.1", "t2", "t24", "t25"}


@pytest.mark.parametrize("path", CITING, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_citation_has_its_anchor(path):
    text = path.read_text()
    missing = cited(text) - set(ANCHOR.findall(REFERENCE.read_text()))
    assert not missing, f"{path}: docs/reference.md has no anchor {sorted(missing)}"
    assert not OTHER_BOOK.search(text), f"{path}: {OTHER_BOOK.search(text)[0]} is not in docs/"


def test_every_section_and_trap_of_the_reference_has_one_anchor():
    text = REFERENCE.read_text()
    found = ANCHOR.findall(text)
    assert len(found) == len(set(found))
    sections = re.findall(r"^<a id=\"s([\d.]+)\"></a>\n#+ §([\d.]+) ", text, re.MULTILINE)
    assert all(anchor == section for anchor, section in sections)
    headings = re.findall(r"^#+ §([\d.]+) ", text, re.MULTILINE)
    assert [section for _, section in sections] == headings
    traps = re.findall(r"<a id=\"t(\d+)\"></a>\*\*T(\d+) ", text)
    assert sorted(int(trap) for _, trap in traps) == list(range(1, 28))
    assert all(anchor == trap for anchor, trap in traps)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for pair in LINK.findall(FENCED.sub("", page.read_text())):
        target = pair[0] or pair[1]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, place = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists(), f"{page}: {target}"
        if place:
            assert place in anchors(there.read_text()), f"{page}: {target} has no such anchor"


def test_readme_is_short_and_has_its_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    for heading in ("### Run the quickstart", "### Run the tests"):
        behind = lines[lines.index(heading) :]
        assert next(line for line in behind if line.startswith("```")) == "```sh"


@pytest.mark.parametrize("before", ["", "data", "bench"])
def test_readme_names_every_command(before, capsys):
    with pytest.raises(SystemExit):
        main.main([*before.split(), "--help"])
    tasks = TASK.findall(capsys.readouterr().out)
    assert tasks
    readme = (ROOT / "README.md").read_text()
    for task in tasks:
        assert " ".join(["`d2v", *before.split(), task]) in readme, task


def test_readme_names_every_recipe():
    named = set(RECIPE.findall((ROOT / "README.md").read_text()))
    assert named == {path.stem for path in (ROOT / "configs").glob("*_*.py")} - {"__init__"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_fields_exist(page):
    """`section.field` in prose and commands; the reference's keys are those of other programs."""
    if page == REFERENCE:
        return
    bases = [
        importlib.import_module(f"d2v_jax.configs.{name}").get_config().to_dict()
        for name in ("audio", "image", "text")
    ]
    sections = {name for base in bases for name, value in base.items() if isinstance(value, dict)}
    words = rf"(?:--config\.|(?<![\w/.(]))((?:{'|'.join(sections)})\.[a-z_]+)(?![\w(/])"
    for name in set(re.findall(words, page.read_text())) - set(NO_FIELDS):
        section, field = name.split(".")
        assert any(field in base.get(section, {}) for base in bases), f"{page}: {name}"


def test_the_page_about_files_is_current():
    from d2v_jax.data.files_page import page

    text = (ROOT / "docs/files.md").read_text()
    assert text == page(), "run python -m d2v_jax.data.files_page > docs/files.md"
