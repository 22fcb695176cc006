"""`lamplighter-edge init`: a node.toml for a new node, by few questions, each of which has an option.

What lines there can be is looked for on this machine, what hangs on them on the lines (`edge.identify`). The file is
checked as the node would before it gets its name (`edge.verbs.node_file`).

Exit codes: 0 written; 1 not, and standard error says why; 2 something has to be said that nobody was there to be asked.
Bounds: those of `edge.verbs.questions` and `edge.verbs.init_answers`; a token has MAX_TOKEN_CHARS.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from drivers.errors import DriverError
from edge.config import ConfigError
from edge.sync.cloud_table import TOKEN_WORD
from edge.verbs.asking import CONFIG, EXIT_FAILED, language_of
from edge.verbs.init_answers import CREDENTIAL, UNITS, InitAnswers
from edge.verbs.init_words import WORDS
from edge.verbs.node_file import NewNode, put, put_token, text_of
from edge.verbs.questions import NotSaid, Questions

EXIT_UNSAID: Final = 2
MAX_TOKEN_CHARS: Final = 4_096


def add(verbs: Any) -> None:
    """Add `init` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    verb: argparse.ArgumentParser = verbs.add_parser("init", help="write a node.toml for a new node, by few questions")
    verb.add_argument("--node", metavar="ID", help="the node's name")
    verb.add_argument("--cloud", metavar="URL", help="where the aggregator is")
    verb.add_argument("--token-file", metavar="FILE", help="the file with the node's token, as node.toml is to name it")
    verb.add_argument("--token-stdin", action="store_true", help="read the token from standard input, and write it")
    verb.add_argument("--at", metavar="LAT,LON", help="where the cabinet is, in degrees, or -")
    verb.add_argument("--where", metavar="TEXT", help="where it stands, for people")
    verb.add_argument("--time-zone", metavar="NAME", help="such as Europe/Paris (default: this machine's)")
    verb.add_argument("--country", metavar="CODE", default="", help="such as FR, for public holidays in a plan")
    verb.add_argument("--page", action=argparse.BooleanOptionalAction, help="serve the page beyond this machine")
    verb.add_argument("--line", action="append", metavar="NAME,KEY=VALUE,…", help="a line; may be repeated")
    verb.add_argument("--no-line", action="store_true", help="no line yet")
    verb.add_argument("--device", action="append", metavar="ID,KEY=VALUE,…", help="a device; may be repeated")
    verb.add_argument("--scan", action=argparse.BooleanOptionalAction, help="look on the lines for devices")
    verb.add_argument("--units", metavar="FROM-TO", help=f"of Modbus lines, where to look (default {UNITS})")
    verb.add_argument("--force", action="store_true", help="replace the file that is there, and keep it")
    verb.add_argument("--config", type=Path, default=CONFIG, help=f"what to write (default {CONFIG})")
    verb.add_argument("--lang", choices=["en", "fr"], help="language of the questions (default: that of LANG)")


def run(
    args: argparse.Namespace, *, locale: str, source: TextIO, out: TextIO, err: TextIO, root: Path = Path("/")
) -> int:
    """Ask and write. `root` stands in for the machine in tests."""
    language = language_of(args, locale)
    words = WORDS[language]
    terminal = source.isatty() and out.isatty() and not args.token_stdin
    path: Path = args.config.absolute()
    try:
        if (why := _why_not(path, args, words)) is not None:
            err.write(f"{why}\n")
            return EXIT_FAILED
        questions = Questions(source, out, language, terminal=terminal)
        questions.say(words["hello"])
        new = InitAnswers(args, questions, language, path, root).asked()
        token = _token(questions, args, words, source, _token_path(path, new.token_file))
        kept = put(path, text_of(new), replace=args.force, now=datetime.now().astimezone())
    except NotSaid as error:
        err.write(f"{error}\n")
        return EXIT_UNSAID if error.option else EXIT_FAILED
    except ConfigError as error:
        err.write(f"{words['not taken']}\n{error}\n")
        return EXIT_FAILED
    except (OSError, DriverError) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        err.write(f"\n{words['ended']}\n")
        return EXIT_FAILED
    out.write(words["written"].format(path) + "\n")
    if kept is not None:
        out.write(words["kept"].format(kept) + "\n")
    where = _token_path(path, new.token_file)
    if token:
        try:
            put_token(where, token)
            out.write(words["token written"].format(where) + "\n")
        except OSError as error:
            err.write(f"{where}: {error.strerror}\n")
            return EXIT_FAILED
    out.write(words["summary"].format(new.id, len(new.lines), len(new.devices)) + "\n")
    _say_next(new, path, where, words, out)
    return 0


def _why_not(path: Path, args: argparse.Namespace, words: Mapping[str, str]) -> str | None:
    """Why nothing can be written there, before anybody has answered anything."""
    if not path.parent.is_dir():
        return words["no folder"].format(path.parent)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return words["no right"].format(path.parent)
    return words["there"].format(path) if path.exists() and not args.force else None


def _token_path(path: Path, named: str) -> Path:
    """Where the token lies: what the unit hands over as a credential is beside the configuration."""
    return path.parent / ("token" if named == CREDENTIAL else named)


def _token(
    questions: Questions, args: argparse.Namespace, words: Mapping[str, str], source: TextIO, where: Path
) -> str:
    """A token that is to be written; empty where there is one, or nobody has said it.

    Raises:
        NotSaid.
    """

    def read(answer: str) -> str:
        if answer and not TOKEN_WORD.fullmatch(answer):
            raise ValueError(words["bad token"])
        return answer

    if where.exists():
        if args.token_stdin:
            raise NotSaid(words["token there"].format(where))
        return ""
    if args.token_stdin:
        return questions.ask("", "--token-stdin", read, given=source.readline(MAX_TOKEN_CHARS + 1).strip())
    if not questions.terminal:
        return ""
    for _ in range(3):
        try:
            return read(questions.secret(words["token"]))
        except ValueError as error:
            questions.say(f"  {error}")
    return ""


def _say_next(new: NewNode, path: Path, token: Path, words: Mapping[str, str], out: TextIO) -> None:
    config = "" if path == CONFIG else f" --config {path}"
    steps = [words["next"]]
    if not token.exists():
        steps.append(words["next token"].format(new.id, token))
    steps.append(words["next check"].format(config))
    steps.append(words["next start"] if path == CONFIG else words["next run"].format(config))
    steps.append(words["next look"].format(config))
    out.writelines(f"{step}\n" for step in steps)
