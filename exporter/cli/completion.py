"""`completion`: makes a completion script for bash, zsh or fish from the table of flags.

The script contains all commands, flags and words, so that completion does not start Python while the user types. Only
for the transforms of `runs` it starts this program, which reads their names and ids from the configuration.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from exporter.cli.flags import COMMANDS, COMPLETED, CONFIG_FILE, PROGRAM, Command, Flag, flags_of, spellings
from exporter.cli.options import CompletionOptions
from exporter.config.parsing import Choice

_FILE = "FILE"
"""The metavar of flags whose value is a file name."""

_SERVE, *_OTHERS = COMMANDS
_FLAGS_OF_ALL_COMMANDS = ("--help", "--version")


def print_script(options: CompletionOptions) -> int:
    """Print the script for the shell, or the names and ids of the configured transforms, one in each line; return 0.

    Raises:
        ConfigError: the configuration cannot be used. The scripts ignore the message.
    """
    if options.shell == COMPLETED:
        print(*_transforms(Path(options.config_file or CONFIG_FILE)), sep="\n")
    else:
        print(completion_script(options.shell), end="")
    return 0


def _transforms(file: Path) -> list[str]:
    # pydantic is slow to load, and the scripts do not need it.
    from exporter.config.settings import read_config  # noqa: PLC0415

    transforms = read_config(file, environ=os.environ).transforms
    return list(dict.fromkeys(word for one in transforms for word in (one.name, one.id) if word))


def completion_script(shell: str) -> str:
    """Return the script for the shell: `bash`, `zsh` or `fish`."""
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()
    return "\n".join((*lines, ""))


def _flag_words(command: Command) -> list[str]:
    """Return every form of every flag of a command."""
    return [*(word for flag in flags_of(command) for word in spellings(flag)), *_FLAGS_OF_ALL_COMMANDS]


def _names_transforms(command: Command) -> bool:
    """Return whether the operand of a command is a transform."""
    return command.operand is not None and command.operand.field == COMPLETED


def _operand_words(command: Command) -> tuple[str, ...]:
    """Return the words that the operand of a command accepts; empty if every text is allowed or no operand exists."""
    return command.operand.read.words if command.operand and isinstance(command.operand.read, Choice) else ()


# -- bash -------------------------------------------------------------------------------------------------------------


def _bash() -> Iterator[str]:
    names = " ".join(command.name for command in COMMANDS)
    yield from (
        f"# Completion of {PROGRAM} for bash.",
        "_glue_ml_exporter_transforms() {",
        "    local i name file=()",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "        [[ ${COMP_WORDS[i]} == --config.file ]] || continue",
        "        [[ ${COMP_WORDS[i+1]} == = ]] && ((i++))",
        '        file=("--config.file=${COMP_WORDS[i+1]}")',
        "    done",
        "    while IFS= read -r name; do",
        '        [[ $name == "$1"* ]] && COMPREPLY+=("$(printf %q "$name")")',
        f'    done < <("${{COMP_WORDS[0]}}" completion {COMPLETED} "${{file[@]}}" 2> /dev/null)',
        "}",
        "_glue_ml_exporter() {",
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= flag= words= i",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        f'        [[ " {names} " == *" ${{COMP_WORDS[i]}} "* ]] && command=${{COMP_WORDS[i]}} && break',
        "    done",
        # Bash splits --flag=value into three words, unless the user has removed = from COMP_WORDBREAKS.
        "    if [[ $word == = ]]; then flag=$before word=",
        "    elif [[ $before == = ]]; then flag=${COMP_WORDS[COMP_CWORD-2]}",
        "    else flag=$before; fi",
        '    case "${command:-serve} $flag" in',
    )
    for command in COMMANDS:
        for flag in flags_of(command):
            if flag.metavar:
                yield f'        "{command.name} --{flag.name}") {_bash_value(flag)} ;;'
    yield "    esac"
    yield '    case "$command" in'
    yield f'        "") words="{names} {" ".join(_flag_words(_SERVE))}" ;;'
    for command in COMMANDS:
        words = " ".join((*_operand_words(command), *_flag_words(command)))
        first = '[[ $word == -* ]] || { _glue_ml_exporter_transforms "$word"; return; }; '
        yield f'        {command.name}) {first if _names_transforms(command) else ""}words="{words}" ;;'
    yield from (
        "    esac",
        # There are many flags, so they are offered only after the user has typed a dash.
        '    [[ $word == -* ]] || words=$(printf "%s\\n" $words | grep -v "^-")',
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        f"complete -F _glue_ml_exporter {PROGRAM}",
    )


def _bash_value(flag: Flag) -> str:
    if flag.metavar == _FILE:
        return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")); return'
    return f'COMPREPLY=($(compgen -W "{" ".join(flag.words)}" -- "$word")); return'


# -- zsh --------------------------------------------------------------------------------------------------------------


def _zsh() -> Iterator[str]:
    names = " ".join(command.name for command in COMMANDS)
    yield from (
        f"#compdef {PROGRAM}",
        "_glue_ml_exporter_transforms() {",
        "    local i; local -a file names",
        "    for ((i = 2; i < CURRENT; i++)); do",
        "        [[ $words[i] == --config.file=* ]] && file=($words[i])",
        "        [[ $words[i] == --config.file ]] && file=(--config.file=$words[i+1])",
        "    done",
        f'    names=("${{(@f)$($words[1] completion {COMPLETED} $file 2> /dev/null)}}")',
        "    compadd -a names",
        "}",
        "_glue_ml_exporter() {",
        "    local -a commands",
        "    commands=(",
        *(f"        {_quoted(f'{command.name}:{command.help}')}" for command in COMMANDS),
        "    )",
        "    local i command=",
        "    for ((i = 2; i < CURRENT; i++)); do",
        f'        [[ " {names} " == *" $words[i] "* ]] && command=$words[i] && break',
        "    done",
        "    [[ -z $command && $words[CURRENT] != -* ]] && { _describe command commands; return }",
        # _arguments would count the command itself as an argument.
        "    [[ -n $command ]] && { words[i]=(); ((CURRENT--)) }",
        '    case "${command:-serve}" in',
    )
    for command in COMMANDS:
        yield f"        {command.name})"
        yield "            _arguments \\"
        for flag in flags_of(command):
            yield from (f"                {_quoted(spec)} \\" for spec in _zsh_specs(flag))
        if command.operand:
            action = f"({' '.join(_operand_words(command))})"
            if _names_transforms(command):
                action = "_glue_ml_exporter_transforms"
            position = "*" if command.operand.many else "1"
            yield f"                {_quoted(f'{position}:{command.operand.metavar}:{action}')} \\"
        yield "                '(- *)--help[print this help]' '(- *)--version[print the version]' ;;"
    yield from (
        "    esac",
        "}",
        # If the file is autoloaded from $fpath, it is the function itself; if it is sourced, it registers the function.
        f'if [[ $funcstack[1] == _{PROGRAM} ]]; then _glue_ml_exporter "$@"',
        f"else compdef _glue_ml_exporter {PROGRAM}; fi",
    )


def _zsh_specs(flag: Flag) -> Iterator[str]:
    """Yield the specifications of a flag for `_arguments` (zshcompsys(1)), one for each form."""
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", r"\:")
    if not flag.metavar:
        yield from (f"{word}[{text}]" for word in spellings(flag))
        return
    action = "_files" if flag.metavar == _FILE else f"({' '.join(flag.words)})" if flag.words else " "
    repeat = "*" if flag.repeatable else ""
    metavar = flag.metavar.replace(":", r"\:")
    yield f"{repeat}--{flag.name}=[{text}]:{metavar}:{action}"


# -- fish -------------------------------------------------------------------------------------------------------------


def _fish() -> Iterator[str]:
    others = " ".join(command.name for command in _OTHERS)
    yield from (
        f"# Completion of {PROGRAM} for fish.",
        "function __glue_ml_exporter_transforms",
        "    set -l words (commandline -opc)",
        "    set -l file (string match -r -- '^--config\\.file=.*' $words)",
        "    set -l at (contains -i -- --config.file $words); and set file --config.file=$words[(math $at + 1)]",
        f"    $words[1] completion {COMPLETED} $file 2> /dev/null",
        "end",
    )
    yield f"complete -c {PROGRAM} -f"
    for command in COMMANDS:
        yield f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}"
    for command in COMMANDS:
        condition = f"not __fish_seen_subcommand_from {others}"
        if command is not _SERVE:
            condition = f"__fish_seen_subcommand_from {command.name}"
        prefix = f"complete -c {PROGRAM} -n {_quoted(condition)}"
        if _names_transforms(command):
            yield f"{prefix} -a '(__glue_ml_exporter_transforms)'"
        if words := _operand_words(command):
            yield f"{prefix} -a {_quoted(' '.join(words))}"
        for flag in flags_of(command):
            for word in spellings(flag):
                yield f"{prefix} -l {word.removeprefix('--')}{_fish_value(flag)} -d {_quoted(flag.help)}"
    yield f"complete -c {PROGRAM} -l help -s h -d 'print this help'"
    yield f"complete -c {PROGRAM} -l version -d 'print the version'"


def _fish_value(flag: Flag) -> str:
    if not flag.metavar:
        return ""
    if flag.metavar == _FILE:
        return " -r -F"
    return f" -x -a {_quoted(' '.join(flag.words))}" if flag.words else " -x"


def _quoted(text: str) -> str:
    """Return the text in single quotes. All three shells understand this escape of a quote within the text."""
    return "'" + text.replace("'", "'\\''") + "'"
