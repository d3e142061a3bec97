"""Options by the names that they had before."""

import pytest
import typer

from MedCLIPSAMLib.commands.deprecated import replace_deprecated_flags

app = typer.Typer()
group = typer.Typer()
app.add_typer(group, name="group")


@app.command()
def current(min_score: float = 0.0, debug: bool = False) -> None: ...


@group.command()
def old(least_score: float = 0.0) -> None: ...


@pytest.mark.parametrize(
    "given, expected",
    [
        (["--least-score", "0.4"], ["--min-score", "0.4"]),
        (["--debug", "--least-score=0.4"], ["--debug", "--min-score=0.4"]),
    ],
)
def test_an_old_name_becomes_the_new_one_with_a_warning(
    given: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert replace_deprecated_flags(app, ["current", *given]) == ["current", *expected]
    output = capsys.readouterr()
    assert "--least-score is now --min-score" in output.err and not output.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["current", "--min-score", "0.4"],
        ["current", "--most-ml", "3"],  # a name of another command
        ["group", "old", "--least-score", "0.4"],  # a command that still has the old name
        [],
    ],
)
def test_other_arguments_stay_as_they_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert replace_deprecated_flags(app, arguments) == arguments
    assert not capsys.readouterr().err


def test_finetune_replaces_by_the_name_that_all_commands_have(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("finetune", "gone.csv", "--name", "mine", "--base", "demo", "--replace")
    assert code == 2 and "--replace is now --overwrite" in err and "gone.csv" in err
