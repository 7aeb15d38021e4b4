"""What the pages point to is there: pages, headings, files, commands and their options."""

import re
import shlex

import pytest
import typer

import pages
from neoteny import cli

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
COMMANDS = typer.main.get_command(cli.app).commands
each_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)


def anchors(page):
    """Of its headings, as the forge and the site both make them."""
    titles = re.findall(r"^#+ (.*)$", pages.FENCE.sub("", pages.text(page)), re.MULTILINE)
    bare = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in bare}


@each_page
def test_a_link_leads_to_a_page_and_a_heading_of_this_repository(page):
    for target in LINK.findall(CODE.sub("", pages.prose(page))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.is_file() and place.is_relative_to(pages.ROOT), target
        assert not anchor or anchor in anchors(place), target


@each_page
def test_the_files_that_a_page_names_are_there(page):
    path = r"\b((?:benchmarks|docs|examples|tests|src)/[\w./-]+\.\w+)"
    named = re.findall(path, pages.text(page))
    assert not [name for name in named if not (pages.ROOT / name).is_file()]


@each_page
def test_the_commands_and_options_that_sentences_name_are_there(page):
    for code in CODE.findall(pages.prose(page)):
        if not code.startswith(("neoteny ", "--")):
            continue
        words = shlex.split(code.replace("\n", " "))
        named = {word.split("=")[0] for word in words if word.startswith("--")}
        if words[0] == "neoteny" and not words[1].startswith("--"):
            assert words[1] in COMMANDS, code
            assert named <= options(COMMANDS[words[1]]), code
        else:
            assert named <= {"--help", "--version"}.union(*map(options, COMMANDS.values())), code


def options(command):
    return {name for option in command.params for name in option.opts + option.secondary_opts}


def test_a_heading_is_found_by_its_words():
    theory = pages.ROOT / "docs" / "theory.md"
    assert "8-what-each-method-should-move-predictions" in anchors(theory)
    assert "8-what-each-method-moves" not in anchors(theory)


def test_every_page_but_those_that_make_up_the_reference_is_reached_from_the_readme():
    """By links alone, as on the forge, where there is no menu."""
    reached, open_pages = set(), [pages.ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(pages.prose(page)):
            place = (page.parent / target.partition("#")[0]).resolve()
            if place.suffix == ".md" and place.is_file():
                open_pages.append(place)
    unreached = {page for page in pages.PAGES if page.parent.name != "api"} - reached
    assert not {pages.name(page) for page in unreached}
