"""The command line explains itself: help, examples, completion, errors for machines, tables, digits."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.commands.table import print_table
from MedCLIPSAMLib.segmentation.answer import format_apart

ROOT = Path(__file__).resolve().parents[2]
GROUP = typer.main.get_command(cli.app)


def commands(group=GROUP, path=()):
    """Every command with the words that call it; without former names, whose examples have the present ones."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif not command.deprecated:
            yield (*path, name), command


@pytest.mark.parametrize("words, command", [pytest.param(*command, id="-".join(command[0])) for command in commands()])
def test_every_command_has_help_with_an_example_that_can_be_parsed(run, monkeypatch, words, command):
    monkeypatch.setenv("COLUMNS", "100")
    code, text, _ = run(*words, "-h")
    assert code == 0 and "Usage" in text
    assert not re.search(r"<[^>|]*>|\{\w+\}", text), text  # names of values, no types of Python
    example = re.search(r"^\s*Example: (medclipsam .*)$", command.help, re.MULTILINE)
    assert example, words
    arguments = shlex.split(example[1])[1:]
    assert tuple(arguments[: len(words)]) == words
    command.make_context(words[-1], arguments[len(words) :])  # raises where it does not fit
    assert [parameter.name for parameter in (*GROUP.params, *command.params) if not parameter.help] == [], words


def test_groups_and_the_program_have_short_help_with_an_example_too(run):
    groups = [(name,) for name, command in GROUP.commands.items() if hasattr(command, "commands")]
    for words in ((), *groups):
        code, text, _ = run(*words, "-h")
        assert code == 0 and re.search(rf"^  Example: {' '.join(('medclipsam', *words))} \w", text, re.MULTILINE), text
        assert "..." not in text.partition("Commands:")[2], text  # whole sentences


def test_options_are_listed_by_what_they_are_about(run):
    _, text, _ = run("segment", "-h")
    sections = dict(re.findall(r"^(\S.*):\n((?:  .*\n|\n)+)", text, re.MULTILINE))
    for heading, option in [
        ("Arguments", "INPUT"),
        ("Options", "--out"),
        ("The models and their device", "--sam"),
        ("How the saliency map becomes a mask, and when nothing is found", "--presence"),
    ]:
        assert option in sections[heading], heading


def test_names_of_values_are_those_of_other_programs(run):
    _, text, _ = run("segment", "-h")
    for shown in ("Usage: medclipsam segment [OPTIONS] INPUT...", "--prompt TEXT", "--slice NUMBER", "--out PATH"):
        assert shown in text
    assert "--plane <axial|coronal|sagittal>" in text or "--plane [axial|coronal|sagittal]" in text
    assert "Usage: medclipsam evaluate [OPTIONS] PREDICTIONS [TRUTHS]" in run("evaluate", "--help")[1]


@pytest.fixture
def complete(run, monkeypatch):
    """What a shell is offered for a line that was typed so far."""

    def call(shell, typed):
        told = {"_MEDCLIPSAM_COMPLETE": f"complete_{shell}", "COMP_WORDS": typed, "COMP_CWORD": len(typed.split()) - 1}
        told |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        with monkeypatch.context() as patch:
            for name, value in told.items():
                patch.setenv(name, str(value))
            return run()[1]

    return call


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_options(complete, shell):
    shown = complete(shell, "medclipsam seg")
    assert "segment" in shown and "evaluate" not in shown


def test_the_shell_completes_names_of_models(complete):
    assert complete("bash", "medclipsam segment a.png --model bio").split() == ["biomedclip"]
    assert complete("bash", "medclipsam segment a.png --sam sam2.1-t").split() == ["sam2.1-tiny"]
    assert {"sam2.1-tiny", "sam2.1-large"} <= set(complete("bash", "medclipsam models download sam").split())


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["segment", "gone.png", "-p", "x", "-o", "out.png"], "gone.png"),
        (["segment", "gone.png", "-p", "x"], "--out"),
        (["evaluate", "gone", "gone"], "gone"),
        (["export", "gone", "-p", "x", "-o", "Dataset001_X"], "gone"),
        (["models", "where", "nothing"], "nothing"),
        (["segment", "gone.png", "-p", "x", "-o", "out.png", "--plane", "slanted"], "slanted"),
    ],
)
def test_errors_are_json_where_json_was_asked_for(run, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    code, text, err = run(*arguments, "--json")
    report = json.loads(text)
    assert code == 2 and named in report["error"] + report["remedy"] and err.startswith("error: ")
    code, text, err = run(*arguments)
    assert code == 2 and not text and err.startswith("error: ")


@pytest.mark.parametrize(
    "option, value, problem, remedy",
    [
        ("--plane", "axal", "Expected axial, coronal or sagittal for --plane, got 'axal'.", "Did you mean 'axial'?"),
        ("--beta", "abc", "Expected a number for --beta, got 'abc'.", "'medclipsam segment -h'"),
        ("--slice", "1.5", "Expected an integer for --slice, got '1.5'.", "'medclipsam segment -h'"),
        ("--at-once", "-1", "Expected a value greater than or equal to 0 for --at-once, got '-1'.", "-h"),
        (
            "--log-level",
            "info",
            "'--log-level' is an option of medclipsam itself, not of 'medclipsam segment'",
            "--log-level ... segment",
        ),
        (
            "--debug",
            "",
            "'--debug' is an option of medclipsam itself, not of 'medclipsam segment'",
            "before the command: medclipsam --debug seg",
        ),
    ],
)
def test_a_wrong_option_is_told_with_its_value_and_what_to_do(run, option, value, problem, remedy):
    code, _, err = run("segment", "a.png", "-p", "x", "-o", "out.png", option, *filter(None, [value]))
    assert code == 2 and err.startswith(f"error: {problem}") and remedy in err


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_tables_are_whole_at_any_width(monkeypatch, capsys, columns):
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", columns)
    table = Table()
    table.add_column("name"), table.add_column("a long heading of a column", justify="right")
    table.add_row("a name of a model that is long " * 3, "0.123456789")
    print_table(table)
    written = capsys.readouterr().out
    assert "a name of a model that is long " * 3 in written and "0.123456789" in written and "…" not in written


def test_tables_fold_on_a_narrow_terminal(monkeypatch, capsys):
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table()
    table.add_column("name", no_wrap=True), table.add_column("value", no_wrap=True)
    table.add_row("n" * 40, "0123456789" * 2)
    print_table(table)
    written = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert written.count("n") >= 40 and "…" not in written and max(map(len, written.splitlines())) <= 30


def test_rows_are_blocks_on_a_terminal_that_is_too_narrow_for_columns(monkeypatch, capsys):
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table("name", "detail", "purpose")
    table.add_row("biomedclip", "", "The text-image model of the paper, for biomedical images of all kinds [MIT]")
    table.add_row("starter", "shipped", "Works offline, trained on real images of four kinds with their masks")
    print_table(table)
    written = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "name: biomedclip\npurpose: The text-image model of the" in written and "detail: shipped" in written
    assert written.count("detail") == 1 and "[MIT]" in written
    assert all(word in written for word in "biomedical images kinds trained offline masks".split())
    assert max(map(len, written.splitlines())) <= 40


@pytest.mark.parametrize(
    "value, other, expected",
    [(0.4, 0.5, ("0.40", "0.50")), (0.4996, 0.5, ("0.4996", "0.5000")), (0.1, 0.123, ("0.10", "0.12"))],
)
def test_numbers_are_told_apart(value, other, expected):
    assert format_apart(value, other) == expected


def test_a_gpu_by_number_is_a_device_everywhere(run, tmp_path):
    """Refused because it is not there, never because of how it is written."""
    for words, command in commands():
        option = next((parameter for parameter in command.params if "--device" in parameter.opts), None)
        if option is not None:
            assert "cuda:N" in option.help, words
    image = ROOT / "Resources" / "samples" / "brain_mri.dcm"
    code, _, err = run("segment", image, "-p", "x", "-o", tmp_path / "o.nrrd", "--device", "cuda:7")
    assert code == 2 and ("CUDA was requested" in err or "GPU 7" in err)
