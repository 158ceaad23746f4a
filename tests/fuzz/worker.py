"""One target in one process, driven by Atheris and libFuzzer: `python tests/fuzz/worker.py TARGET SEEDS FOLDER ...`.

Exceptions that are not InputError are saved and counted, and the run goes on. A crash, a hang or too much memory ends
the process; libFuzzer saves its input. stats.json holds the counts.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import atheris

# Coverage of what parses foreign bytes guides the mutations.
with atheris.instrument_imports(include=["pa3d.io", "pa3d.data.harvest", "pa3d.cli.options"]):
    import pa3d.data.harvest
    import pa3d.io
    from pa3d.cli import options as _options  # noqa: F401

    pa3d.io.formats()

from mutators import MUTATORS
from targets import Target, targets

from pa3d.errors import InputError

MOST_MEMORY = 2 << 30
LONGEST_MESSAGE = 1000
STRUCTURED = 0.6  # of the mutations


class Fuzzer:
    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        self.scratch = Path(tempfile.mkdtemp())  # in TMPDIR, which the caller of this process makes and removes
        self.path = self.scratch / target.file
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.inputs, self.started, self.saved = 0, time.monotonic(), 0.0
        self.slowest = 0.0

    def one(self, data: bytes) -> None:
        self.path.write_bytes(data)
        began = time.monotonic()
        try:
            outcome = self.target.run(self.path)
        except InputError as error:
            outcome = re.sub(r"'.*'|\d+", "#", str(error))[:200]
            if not 0 < len(str(error)) < LONGEST_MESSAGE:
                self.fail("message", str(error)[:2000], data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a library in Rust is not an Exception
            frame = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"{type(error).__name__}-{Path(frame.filename).stem}-{frame.lineno}"
            self.fail(outcome, traceback.format_exc(), data)
        now = time.monotonic()
        self.slowest = max(self.slowest, now - began)
        self.inputs += 1
        if outcome in self.outcomes or len(self.outcomes) < 5000:
            self.outcomes[outcome] += 1
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_MEMORY:
            self.fail("memory", "", data)
            self.save()
            raise SystemExit("more than 2 GiB")
        if now - self.saved > 1:
            self.save()

    def fail(self, kind: str, text: str, data: bytes) -> None:
        self.failures[kind] += 1
        if self.failures[kind] == 1:
            name = self.folder / f"{self.target.name}-{kind}"
            name.with_name(name.name + "-" + self.target.file).write_bytes(data)
            name.with_name(name.name + ".log").write_text(text, encoding="utf-8", errors="backslashreplace")
            print(f"FAILURE {self.target.name} {kind}", flush=True)

    def save(self) -> None:
        self.saved = time.monotonic()
        stats = {
            "inputs": self.inputs,
            "seconds": self.saved - self.started,
            "slowest": self.slowest,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "failures": self.failures,
            "outcomes": self.outcomes,
        }
        temporary = self.folder / f".{self.target.name}.json"
        temporary.write_text(json.dumps(stats, indent=1))
        temporary.replace(self.folder / f"{self.target.name}.json")

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)

        def change(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, max(len(part) + 64, 1)))

        if self.target.mutator and data and rng.random() < STRUCTURED:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                changed = MUTATORS[self.target.mutator](bytes(data), rng, change)
                if changed is None or len(changed) > max_size:
                    break
                data = changed
            else:
                return data
        return bytes(atheris.Mutate(bytes(data), max_size))


def main() -> None:
    name, seeds, folder, *options = sys.argv[1:]
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fuzzer = Fuzzer(next(target for target in targets() if target.name == name), Path(folder))
    for seed in Path(seeds).iterdir():  # the first inputs import what they need, which must not count as their time
        fuzzer.path.write_bytes(seed.read_bytes())
        with contextlib.suppress(Exception):
            fuzzer.target.run(fuzzer.path)
    fuzzer.save()
    longest = max(4096, 2 * max(path.stat().st_size for path in Path(seeds).iterdir()))
    arguments = [f"-max_len={longest}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/{name}-"]
    corpus = fuzzer.scratch / "corpus"
    corpus.mkdir()
    atheris.Setup([sys.argv[0], str(corpus), seeds, *arguments, *options], fuzzer.one, custom_mutator=fuzzer.mutate)
    atheris.Fuzz()  # does not return


if __name__ == "__main__":
    main()
