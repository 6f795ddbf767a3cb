"""The pages: no dead links, nothing to type that does not exist, no finding that is not explained."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import pictures
import pytest
from checkout import ROOT
from doc_commands import complaints, options_of, segments
from doc_links import anchors, dead_links

from jaxsif.commands import COMMANDS
from jaxsif.core.topology import parse_topology

PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "minicluster/README.md")
    ),
    *sorted(ROOT.glob("docs/**/*.md")),
]
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: str(p.relative_to(ROOT))
)


@each_page
def test_every_link_leads_somewhere(page):
    assert [] == dead_links(page, page.read_text())


@pytest.mark.parametrize(
    "link",
    [
        "docs/start.md",
        "docs/start.md#while-it-runs",
        "docs/start.md#mpi-between-cpus",
        "#here-and-there",
        "https://docs.jax.dev/nowhere#at-all",
    ],
)
def test_a_link_that_leads_somewhere_is_none_of_its_business(link):
    page = f"## `here` and there\n\nSee [it]({link}).\n"

    assert [] == dead_links(ROOT / "README.md", page)


@pytest.mark.parametrize(
    "link", ["docs/gone.md", "docs/start.md#gone", "#gone", "gone.png"]
)
def test_a_dead_link_is_found(link):
    page = f"# A page\n\nSee [`code`\nand more]({link}).\n"

    assert [link] == dead_links(ROOT / "README.md", page)


def test_what_looks_like_a_link_in_code_is_none():
    page = "A call `f[0](x)`:\n\n    names[0](gone.md)\n\n```\n[a](gone.md)\n```\n"

    assert [] == dead_links(ROOT / "README.md", page)


def test_headings_have_the_names_that_code_hosts_give_them():
    page = "# `jax-sif doctor`: is it well?\n\n## A, B\n\n## A, B\n\n    # no heading\n"

    assert {"jax-sif-doctor-is-it-well", "a-b", "a-b-1"} == anchors(page)


@each_page
def test_all_that_it_says_to_type_exists(page):
    assert [] == complaints(page.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "$ jax-sif verify --strict --verdict-file FILE job.log    # comes later: --gone",
        "jax-sif job --site here G8N2p8 -t 1:00:00 train.py --own | sbatch",
        "jax-sif launch G4N2p4 --after=2s -- python train.py --own |& jax-sif verify",
        "jax-sif packages create my.sqsh -r mine.txt --pip=--pre",
        "jax-sif accept --topology=G64N16p64 --partition=gpu",
        "jax-sif scale plan G4N1p4 --nodes 1,2 --scale-argument batch train.py --batch 4096",
        "jax-sif run --own",
        "jax-sif launch: error: node2: task 3: Killed",
        "make test-unit TESTS='-k entry'",
        "the three ways make the same array",
        'sbatch "$JAX_SIF_ROOT/jobs/allreduce.slurm"',
        "jax-sif job pairs python /opt/jax-sif/diag/pairs.py --all-pairs | sbatch",
        "jax-sif lint --strict jobs/*.slurm",
        "minicluster/minicluster up --nodes 4 --state DIR",
        "minicluster/minicluster run -- srun --nodes=2 true",
        "JAX_SIF_DEADLINE_CONNECTED_S=5 python benchmarks/simulate_pairs.py --seeds 6",
    ],
)
def test_what_exists_may_be_typed(line):
    assert [] == complaints(f"Type it:\n\n    {line}\n")


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("jax-sif judge job.log", "jax-sif judge"),
        ("srun a |& jax-sif verfy", "jax-sif verfy"),
        ("jax-sif verify --strictly job.log", "jax-sif verify --strictly"),
        ("jax-sif job G8N2p8 --gone x train.py", "jax-sif job --gone"),
        (
            "jax-sif packages create my.sqsh --gone flax",
            "jax-sif packages create --gone",
        ),
        ("jax-sif packages make my.sqsh flax", "jax-sif packages make"),
        ("jax-sif site find > here.yaml", "jax-sif site find"),
        ("jax-sif help verfy", "jax-sif help"),
        ("jax-sif profile make debug", "jax-sif profile make"),
        ("jax-sif packages info --force my.sqsh", "jax-sif packages info --force"),
        ("jax-sif scale show --nodes 1,2 study", "jax-sif scale show --nodes"),
        ("jax-sif accept --gone=1", "jax-sif accept --gone"),
        ("make images", "make images"),
        ("make lint gone", "make gone"),
        ("make build-image GONE=local", "make GONE="),
        ("module load jax-sif/0.1-cpu; true", "module load jax-sif/0.1-cpu"),
        ("sbatch jobs/gone.slurm", "jobs/gone.slurm"),
        ('sbatch "$JAX_SIF_ROOT/examples/gone.slurm"', "examples/gone.slurm"),
        ("tools/gone", "tools/gone"),
        ("jax-python diag/pairs.py --fully", "diag/pairs.py --fully"),
        ("python benchmarks/env.py --gone 9", "benchmarks/env.py --gone"),
        ("jax-sif scale G4N1p4 examples/train.py --gone 1", "examples/train.py --gone"),
        ("minicluster/minicluster start", "minicluster start"),
        ("minicluster/minicluster up --gone 4", "minicluster up --gone"),
        ("JAX_SIF_GONE=1 sbatch train.slurm", "JAX_SIF_GONE"),
    ],
)
@pytest.mark.parametrize(
    "page",
    ["A block:\n\n    {}\n", "Fenced:\n\n```sh\n{}\n```\n", "Inline: `{}`.\n"],
    ids=["block", "fenced", "inline"],
)
def test_what_does_not_exist_is_found(page, line, gone):
    assert [gone] == complaints(page.format(line))


def test_a_command_that_goes_on_in_the_next_line_is_one():
    broken = "    jax-sif verify \\\n      --gone\n\nand `jax-sif\nverify --gone`\n"

    assert ["jax-sif verify --gone"] * 2 == complaints(broken)


def test_options_are_those_of_the_real_parser():
    assert options_of("verify")["--verdict-file"]
    assert not options_of("verify")["--strict"]
    assert "--find-links" in options_of("packages", "create")
    assert "--find-links" not in options_of("packages", "list")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_a_page(command):
    shown = [code for page in PAGES for code in segments(page.read_text())]

    assert any(re.search(rf"jax-sif {command}\b", code) for code in shown)


def test_the_pictures_are_what_the_topologies_say():
    written = {path.name: path.read_text() for path in pictures.FOLDER.iterdir()}

    assert pictures.pictures() == written, pictures.COMMAND


def test_a_picture_has_every_rank_with_its_gpus():
    drawn = pictures.topology_svg(parse_topology("G8N2p4"))
    said = re.findall(r">([^<]+)</text>", drawn)

    assert [
        *("node1", "rank 0", "local rank 0", "GPU 0", "GPU 1"),
        *("rank 1", "local rank 1", "GPU 2", "GPU 3"),
        *("node2", "rank 2", "local rank 0", "GPU 0", "GPU 1"),
        *("rank 3", "local rank 1", "GPU 2", "GPU 3"),
    ] == said


def test_every_picture_is_shown_with_words_in_its_place():
    shown = {
        name: words
        for page in ROOT.glob("docs/*.md")
        for words, name in re.findall(
            r"!\[([^]]*)\]\(pictures/([^)]+)\)", page.read_text()
        )
    }

    assert pictures.pictures().keys() == shown.keys()
    assert all(shown.values())


def test_every_finding_is_explained():
    sources = (ROOT / "src/jaxsif").rglob("*.py")
    kinds = {
        kind
        for source in sources
        for kind in re.findall(r'\bFinding\(\s*f?"([^"]+)"', source.read_text())
    }
    kinds |= {
        f"{name}-differs" for name in ("image", "packages", "jax", "jaxlib", "nccl")
    }
    kinds.discard("{name}-differs")
    explained = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/verdict.md").read_text()))

    assert len(kinds) > 15
    assert set() == kinds - explained


def test_every_path_of_the_map_is_there():
    table = (ROOT / "README.md").read_text().partition("## Map")[2]
    names = [
        name
        for row in re.findall(r"^\| ((?:`[^`]+` ?)+)\|", table, re.M)
        for name in re.findall(r"`([^`]+)`", row)
    ]

    assert len(names) > 10
    assert [] == [name for name in names if not (ROOT / name).exists()]


def test_the_files_to_read_first_are_an_afternoons_reading():
    page = (ROOT / "docs/how.md").read_text().partition("### What to read first")[2]
    files = []
    for item in page.split("\n- ")[1:]:
        folder = ROOT / "src/jaxsif"
        for name in re.findall(r"`([^`]+)`", item):
            if name.endswith("/"):
                folder = ROOT / "src/jaxsif" / name
            else:
                files.append(folder / name)

    assert 20 < len(files) <= 26
    assert sum(len(file.read_text().splitlines()) for file in files) < 5000


def test_every_fault_of_the_matrix_has_its_row():
    page = (ROOT / "docs/faults.md").read_text()
    helpers = {"fault", "in_place", "alone"}
    titles = [
        file.read_text().partition('"""')[2].partition('"""')[0]
        for file in (ROOT / "tests/cluster/faults").glob("*.py")
        if file.stem not in helpers
    ]

    assert len(titles) > 40
    assert [] == [title for title in titles if f"| {title} |" not in page], (
        "run: make faults"
    )
