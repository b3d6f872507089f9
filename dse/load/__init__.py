"""What the person named -> a float model with calibration samples, and labelled test samples where there are some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dse.ir import Array, Model
from dse.load.hyper import HyperParameters, build_model, load_hyper, parse_hyper, sample_inputs
from dse.load.samples import load_labels, load_samples
from dse.load.scope import cut

MODELS = Path(__file__).resolve().parent.parent / "models"
SCOPES = ("mhsa", "block", "encoder")
CALIBRATION_COUNT = 16


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A float model, its calibration samples (count, s, e), and labelled test samples or None."""

    model: Model
    samples: Array
    test: Array
    labels: Array | None


def load_model(
    name: str | None,
    scope: str | None,
    calib: Path | None,
    labels: Path | None,
    hyper: Mapping[str, int] | None = None,
) -> LoadedModel:
    """The model a person named: built in, .onnx, .toml, or just sizes; ValueError says what is wrong with the name."""
    if name is None:
        if not hyper:
            raise ValueError("name a MODEL (see `dse models`), or give the sizes --s --e --p --h")
        return _hyper(parse_hyper({"name": "custom", **hyper}, "command line"), scope or "mhsa")
    if hyper:
        raise ValueError(f"MODEL {name!r} and sizes (--{next(iter(hyper))}) exclude each other; give one of them")
    if name.endswith(".onnx"):
        return _onnx(Path(name), calib, labels, scope)
    if calib or labels:
        raise ValueError(f"--calib and --labels go with an .onnx file; {name!r} brings its own samples")
    if name.endswith(".toml"):
        return _hyper(load_hyper(Path(name)), scope or "mhsa")
    if (MODELS / name / f"{name}.onnx").is_file():
        folder = MODELS / name
        return _onnx(folder / f"{name}.onnx", folder / "calibration.npz", folder / "test.npz", scope)
    if name in _builtin_hyper():
        return _hyper(load_hyper(MODELS / f"{name}.toml"), scope or "mhsa")
    raise ValueError(
        f"MODEL {name!r} is unknown: built in are {', '.join(model_names())}; "
        "or give the path of an .onnx file (with --calib) or of a .toml of hyper-parameters"
    )


def _hyper(hyper: HyperParameters, scope: str) -> LoadedModel:
    model = build_model(hyper, scope)
    samples = sample_inputs(hyper, CALIBRATION_COUNT, seed=0)
    return LoadedModel(model, samples, samples, None)


def _onnx(path: Path, calib: Path | None, labels: Path | None, scope: str | None) -> LoadedModel:
    from dse.load.onnx import load_onnx

    model = load_onnx(path)
    if calib is None:
        raise ValueError(f"{path}: an fp32 model needs calibration samples: --calib samples.npz with {model.input!r}")
    shape = model.tensors[model.input].shape
    samples = load_samples(calib, model.input, shape)
    if scope in ("mhsa", "block"):
        model, samples = cut(model, samples, scope)
        return LoadedModel(model, samples, samples, None)
    if labels is None:
        return LoadedModel(model, samples, samples, None)
    test = load_samples(labels, model.input, shape)
    return LoadedModel(model, samples, test, load_labels(labels, len(test)))


def _builtin_hyper() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in MODELS.glob("*.toml")))


def model_names() -> tuple[str, ...]:
    """The built-in models: trained ones first."""
    trained = sorted(path.parent.name for path in MODELS.glob("*/*.onnx"))
    return (*trained, *_builtin_hyper())


def describe_models() -> list[tuple[str, ...]]:
    """(name, s, e, p, h, f, layers, description) of every built-in model, as text."""
    rows = []
    for name in model_names():
        if name in _builtin_hyper():
            z = load_hyper(MODELS / f"{name}.toml")
            sizes = (z.s, z.e, z.p, z.h, z.hidden, z.layers)
            rows.append((name, *(str(n) for n in sizes), z.description))
        else:
            rows.append((name, *("–",) * 6, "trained encoder (ONNX), with calibration and labelled test samples"))
    return rows
