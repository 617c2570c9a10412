"""Write the man page and the bash completion out of the program's own commands, options and settings.

Takes the argument parsers of all commands and the table of settings; gives two texts, and writes them to where they
are installed from (files/journal-postfix/share). Run by hand (`.venv/bin/python tools/manual.py`) after a command,
an option or a setting has changed; a test fails when a file is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "files" / "journal-postfix"))

from journal_postfix import __version__
from journal_postfix.cli.main import COMMANDS, build_parser, command_module
from journal_postfix.settings import DEFAULT_PATH, SETTINGS

ROOT: Final = Path(__file__).resolve().parent.parent
SHARE: Final = ROOT / "files" / "journal-postfix" / "share"
MAN_PAGE: Final = SHARE / "man" / "man1" / "journal-postfix.1"
COMPLETION: Final = SHARE / "bash-completion" / "completions" / "journal-postfix"

# When what no table says below was last changed: a page needs a date, and the same one wherever it is made.
DATE: Final = "2026-11-23"

EXIT_STATUS: Final = (
    ("0", "Done. A look-up that finds nothing is done, too."),
    ("1", "Failed; of status: something is wrong."),
    ("2", "Wrong usage."),
    ("78", "The configuration has problems; all of them are named."),
)
FILE_METAVARS: Final = frozenset({"FILE"})


def _parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"journal-postfix {command}")
    command_module(command).add_arguments(parser)
    return parser


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Give options and arguments, without --help and without the commands."""
    return [
        action
        for action in parser._actions  # noqa: SLF001 (argparse has no other way)
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)  # noqa: SLF001
    ]


def _value_name(action: argparse.Action) -> str:
    """Give what stands for the value of an option or argument; empty where there is none."""
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        return str(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _help(action: argparse.Action) -> str:
    text = action.help or ("show version and exit" if action.nargs == 0 else "")
    return text % {"default": action.default, "prog": "journal-postfix"} if "%" in text else text


# ---- the man page


def roff(text: str) -> str:
    r"""Give text as roff shows it.

    >>> print(roff("--year a\\b 'x' …"))
    \-\-year a\eb \(aqx\(aq \[u2026]
    """
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\[u{ord(match[0]):04X}]", text)


def _paragraph(text: str) -> str:
    """Give a line of text; one that begins with a dot is no request."""
    shown = roff(text)
    return f"\\&{shown}" if shown.startswith(".") else shown


def _sentence(text: str) -> str:
    """Give a help text as a sentence of a page."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _tagged(action: argparse.Action) -> Iterator[str]:
    name = _value_name(action)
    value = f"\\fI{roff(name)}\\fR" if name else ""
    yield ".TP"
    if action.option_strings:
        yield ", ".join(f"\\fB{roff(option)}\\fR" for option in action.option_strings) + (f" {value}" if value else "")
    else:
        yield value
    yield _paragraph(_sentence(_help(action) or "what is read"))


def _argument(action: argparse.Action) -> str:
    """Give an argument as the synopsis has it."""
    name = f"\\fI{roff(_value_name(action))}\\fR"
    if action.nargs in ("*", "+"):
        name += " ..."
    return f"[{name}]" if action.nargs in ("*", "?") else name


def man_page() -> str:
    """Give the page journal-postfix(1)."""
    parser = build_parser()
    lines = [
        '.\\" Made by tools/manual.py out of the program; do not edit.',
        f'.TH JOURNAL\\-POSTFIX 1 "{DATE}" "journal\\-postfix {roff(__version__)}"',
        ".SH NAME",
        "journal\\-postfix \\- what became of each mail: Postfix\\(aqs log in PostgreSQL",
        ".SH SYNOPSIS",
        "\\fBjournal\\-postfix\\fR [\\fB\\-\\-config\\fR \\fIFILE\\fR] \\fICOMMAND\\fR [\\fIOPTION\\fR ...]",
        ".SH DESCRIPTION",
        _paragraph(_sentence(parser.description or "")),
        _paragraph("Every command has --help; where there is output for people, --json gives it as JSON lines."),
    ]
    for action in _actions(parser):
        lines.extend(_tagged(action))
    lines.append(".SH COMMANDS")
    for name, help_text in COMMANDS.items():
        actions = _actions(_parser_of(name))
        arguments = " ".join(_argument(action) for action in actions if not action.option_strings)
        options = " [\\fIOPTION\\fR ...]" if any(action.option_strings for action in actions) else ""
        lines.append(f'.SS "{name}"'.replace("-", "\\-"))
        lines.append(f"\\fBjournal\\-postfix {roff(name)}\\fR{options}" + (f" {arguments}" if arguments else ""))
        lines.append(".PP")
        lines.append(_paragraph(_sentence(help_text)))
        for action in actions:
            lines.extend(_tagged(action))
    lines.append(".SH CONFIGURATION")
    lines.append(_paragraph(f"{DEFAULT_PATH} is a map in YAML; each setting has a default."))
    for setting in SETTINGS:
        default = json.dumps(setting.default, ensure_ascii=False)
        lines.append(".TP")
        lines.append(f"\\fB{roff(setting.name)}\\fR ({roff(setting.takes)})")
        lines.append(_paragraph(setting.help))
        lines.append(_paragraph(f"Default: {default}"))
    lines.append(".SH EXIT STATUS")
    for status, meaning in EXIT_STATUS:
        lines.extend([".TP", status, _paragraph(meaning)])
    lines.append(".SH FILES")
    lines.extend([".TP", f"\\fI{roff(str(DEFAULT_PATH))}\\fR", "The configuration."])
    lines.extend([".SH SEE ALSO", ".BR postfix (1),", ".BR postlog (1),", ".BR journalctl (1)"])
    return "\n".join(lines) + "\n"


# ---- the completion

_HEAD: Final = """\
# Completion of journal-postfix in bash; made by tools/manual.py out of the program, do not edit.

_journal_postfix() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= words= number
    local IFS=$'\\n'
    COMPREPLY=()
    for ((number = 1; number < COMP_CWORD; number++)); do
        case ${COMP_WORDS[number]} in
            --config) ((number++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[number]}; break ;;
        esac
    done
    case "$command $previous" in
"""
_MIDDLE: Final = """\
        *) case "$command $word" in
"""
_TAIL: Final = """\
        esac ;;
    esac
    if [[ -z $words ]]; then
        compopt +o default 2>/dev/null
        return 0
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    # A value may have a blank in it.
    for number in "${!COMPREPLY[@]}"; do
        printf -v "COMPREPLY[number]" %q "${COMPREPLY[number]}"
    done
}
complete -o default -F _journal_postfix journal-postfix
"""


def _words(words: list[str]) -> str:
    quoted = "\\n".join(words)
    return f"words=$'{quoted}'"


def _values(command: str, action: argparse.Action) -> Iterator[str]:
    """Yield the case for what follows an option that takes a value."""
    if not action.option_strings or action.nargs == 0:
        return
    pattern = "|".join(f'"{command} {option}"' for option in action.option_strings)
    if action.choices:
        yield f"        {pattern}) {_words(list(map(str, action.choices)))} ;;"
    elif action.metavar in FILE_METAVARS:
        yield f"        {pattern}) return 0 ;;"
    else:
        yield f"        {pattern}) ;;"


def completion() -> str:
    """Give the script for bash. Where a file is wanted it gives nothing, and bash completes file names."""
    values: list[str] = []
    plain: list[str] = []
    general = _actions(build_parser())
    for action in general:
        values.extend(_values("", action))
    options = [option for action in general for option in action.option_strings] + ["--help"]
    plain.append(f'            " "-*) {_words(options)} ;;')
    plain.append(f'            " "*) {_words([*COMMANDS])} ;;')
    for name in COMMANDS:
        actions = _actions(_parser_of(name))
        for action in actions:
            values.extend(_values(name, action))
        options = [option for action in actions for option in action.option_strings] + ["--help"]
        plain.append(f'            "{name} "-*) {_words(options)} ;;')
        for action in actions:
            if action.option_strings:
                continue
            if action.choices:
                plain.append(f'            "{name} "*) {_words(list(map(str, action.choices)))} ;;')
            elif action.metavar in FILE_METAVARS:
                plain.append(f'            "{name} "*) return 0 ;;')
    return _HEAD + "\n".join(values) + "\n" + _MIDDLE + "\n".join(plain) + "\n" + _TAIL


FILES: Final = ((MAN_PAGE, man_page), (COMPLETION, completion))


def main() -> None:
    """Write both files."""
    for path, make in FILES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
