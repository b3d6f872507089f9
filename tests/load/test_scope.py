"""Parts cut from a whole encoder compute what they computed inside it."""

from __future__ import annotations

import numpy as np
import pytest

from dse import ops
from dse.load import load_model
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.load.scope import cut


@pytest.mark.parametrize(
    ("norm", "scope", "source", "result"),
    [
        ("post", "mhsa", "positions", "l0.o"),
        ("post", "block", "positions", "l0.norm2"),
        ("pre", "mhsa", "l0.norm1", "l0.o"),
        ("pre", "block", "positions", "l0.add2"),
    ],
)
def test_a_part_computes_what_it_did_in_the_whole(norm, scope, source, result):
    hyper = HyperParameters("net", s=5, e=6, p=3, h=2, f=7, layers=2, norm=norm)
    model, samples = build_model(hyper, "encoder"), sample_inputs(hyper, 3, 0)
    part, inputs = cut(model, samples, scope)
    assert (part.input, part.output) == (source, result)
    inside = ops.run(model, samples)[result]
    assert np.abs(inside).max() > 0.1
    assert np.allclose(ops.run_batch(part, inputs), inside, atol=1e-5)


def test_the_trained_digits_have_parts():
    attention, block = (load_model("digits", scope, None, None) for scope in ("mhsa", "block"))
    assert attention.model.name == "digits-mhsa"
    assert {op.kind for op in attention.model.ops} == {"linear", "probs", "attend"}
    assert {op.kind for op in block.model.ops} == {"linear", "probs", "attend", "add", "layernorm", "activation"}
    assert attention.samples.shape[1:] == block.samples.shape[1:] == (8, 32)


def test_a_model_without_a_feed_forward_pair_has_no_block():
    hyper = HyperParameters("net", s=5, e=6, p=3, h=2)
    with pytest.raises(ValueError, match="no residual adds"):
        cut(build_model(hyper, "mhsa"), sample_inputs(hyper, 2, 0), "block")
