"""The command line. One module per command; options, output and progress are what they share.

Little is imported at the top, so that help and wrong options answer at once. typer is imported for them, but not for a
command that pa3d.cli.arguments can parse. A command imports numpy, the engine, the report and rich when it runs. torch
is imported only

- by `convert`, `prepare` and `train`, by `eval` for labels in .pt files, and for `--model` with the published pickle
- for a `--device` other than cpu
- for part names in an OpenCLIP text space, if their vectors are not cached
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pa3d.cli.arguments import Option, echo, for_typer, parse
from pa3d.errors import InputError

if TYPE_CHECKING:
    import typer

# The commands, in the order in which help lists them. Each is a function of that name, with _ for -, in its module of
# pa3d.cli.
COMMANDS = (
    "segment",
    "view",
    "embed",
    "search",
    "keypoints",
    "render",
    "profile",
    "info",
    "convert",
    "export",
    "embed-text",
    "harvest",
    "synth",
    "prepare",
    "serve",
)
# Commands with commands of their own: the module that has them as `app`.
GROUPS = {"train": "train", "eval": "evaluate"}


def make_app(commands: Sequence[str] = (*COMMANDS, *GROUPS)) -> typer.Typer:
    """The command line with these commands only, because building all takes time (scripts/compare_startup.py)."""
    import typer

    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Name the parts of 3D shapes from free text.",
    )
    app.callback(invoke_without_command=True)(for_typer(root))
    for name in commands:
        function = name.replace("-", "_")
        module = import_module(f"pa3d.cli.{GROUPS.get(name, function)}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command()(for_typer(getattr(module, function)))
    return app


def root(
    version: Annotated[bool, Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        import typer

        from pa3d import __version__

        echo(f"pa3d {__version__}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0: success. 1: standard output could not be written (full disk, closed pipe), or a bug of pa3d. 2: invalid input,
    output files that cannot be written, or not enough memory. 3: some of many files could not be segmented or
    embedded. 130: interrupted by Ctrl-C. 143: ended by SIGTERM.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    _prepare_streams()
    _clean_up_when_terminated()
    warnings.showwarning = _show_warning
    debug = "--debug" in args  # read here, because it also holds for errors in the options
    try:
        code = _run(args)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except _Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        _discard_stdout()  # the process that read it has ended
        return 1
    except MemoryError as error:
        return _report(error, "not enough memory; decimate the shape or use a smaller --sample", 2, debug)
    except InputError as error:
        return _report(error, str(error), 2, debug)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT) and not error.filename:
            _discard_stdout()
            return _report(error, f"the output cannot be written ({error.strerror}); make room on the disk", 1, debug)
        if hasattr(error, "format_message"):  # typer's own errors, which name the wrong option
            return _report(error, f"{error.format_message().rstrip('.')}; see pa3d --help", 2, debug)
        what = f"{type(error).__name__}: {error}"
        return _report(error, f"{what}; this is a bug of pa3d, --debug shows where", 1, debug)


def _run(args: list[str]) -> Any:
    """Run a command by pa3d.cli.arguments if it is spelled plainly, else by typer."""
    name = args[0]
    if name in COMMANDS:
        function = name.replace("-", "_")
        command = getattr(import_module(f"pa3d.cli.{function}"), function)
        arguments = parse(command, args[1:])
        if arguments is not None:
            return command(**arguments)
    import typer

    app = make_app((name,) if name in (*COMMANDS, *GROUPS) else (*COMMANDS, *GROUPS))
    try:
        return app(args, prog_name="pa3d", standalone_mode=False)
    except typer.Abort:
        return 130


class _Terminated(BaseException):
    """SIGTERM has come. Like KeyboardInterrupt, so that half-written files and worker processes go."""


def _clean_up_when_terminated() -> None:
    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise _Terminated

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)


def _prepare_streams() -> None:
    """Make the standard streams raise no error if they cannot encode a character, or if the caller closed them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed: the next file that is opened would get its number
            os.open(os.devnull, os.O_RDWR)
        stream = getattr(sys, name)
        if descriptor and stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif descriptor and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    if sys.stderr is not None:
        print(f"warning: {message}", file=sys.stderr)


def _discard_stdout() -> None:
    """Without this, Python would report an error when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    with contextlib.suppress(OSError):  # a closed or full stderr changes nothing about the exit code
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
