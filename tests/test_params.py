"""ModelParams in the hands of flax, optax and orbax."""

import copy
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import serialization
from flax.training.train_state import TrainState

from vfijax.models import create, narrow
from vfijax.params import ModelParams


@pytest.fixture(scope="module")
def model():
    """Whose sums with whole numbers and halves are exact."""
    return jax.tree.map(lambda leaf: jnp.round(8 * leaf) / 8, create(narrow("adacof", width=2, taps=1), 0))


def changed(params, by=1):
    return jax.tree.map(lambda leaf: leaf + by, params)


def assert_equal(found, expected):
    assert isinstance(found, ModelParams) and found.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, found.tree, expected.tree)


def test_a_train_state_of_flax_takes_them_and_steps_under_jit(model):
    state = TrainState.create(apply_fn=lambda *_: None, params=model, tx=optax.sgd(0.5))
    step = jax.jit(lambda state, gradients: state.apply_gradients(grads=gradients))
    ones = jax.tree.map(jnp.ones_like, model)
    after = step(step(state, ones), ones)
    assert int(after.step) == 2
    assert_equal(after.params, changed(model, -1.0))


def test_a_train_state_of_flax_is_stored_and_restored(model):
    state = TrainState.create(apply_fn=None, params=model, tx=optax.adam(1e-3))
    stored = serialization.to_bytes(state.replace(params=changed(model)))
    assert_equal(serialization.from_bytes(state, stored).params, changed(model))


def test_flax_serializes_them_and_the_config_stays_that_of_the_target(model):
    stored = serialization.to_bytes(changed(model))
    assert_equal(serialization.from_bytes(model, stored), changed(model))
    state = serialization.to_state_dict(model)
    assert set(state) == {"tree"} and isinstance(serialization.msgpack_restore(stored), dict)
    assert_equal(serialization.from_state_dict(changed(model), state), model)
    blend = create("blend", 0)
    assert_equal(serialization.from_bytes(blend, serialization.to_bytes(blend)), blend)


def test_a_state_of_another_network_is_refused(model):
    wider = create(narrow("adacof", width=3, taps=1), 0)
    with pytest.raises(ValueError, match=r"ModelParams: \S+ is \(.*\) in the state, but \(.*\) in adacof;"):
        serialization.from_state_dict(model, serialization.to_state_dict(wider))
    for state in ({"params": model.tree}, {}):
        with pytest.raises(ValueError, match="the state holds no parameters of vfijax"):
            serialization.from_state_dict(model, state)


def test_masks_labels_and_averages_of_optax_take_them(model):
    labels = jax.tree.map(lambda leaf: "kernel" if leaf.ndim == 4 else "rest", model)
    rules = {"kernel": optax.sgd(1.0), "rest": optax.set_to_zero()}
    chain = optax.chain(
        optax.clip_by_global_norm(1e9),
        optax.masked(optax.scale(2.0), lambda tree: jax.tree.map(lambda leaf: leaf.ndim == 4, tree)),
        optax.multi_transform(rules, labels),
    )
    updates, _ = chain.update(jax.tree.map(jnp.ones_like, model), chain.init(model), model)
    after = optax.apply_updates(model, updates)
    expected = jax.tree.map(lambda leaf: leaf - 2 if leaf.ndim == 4 else leaf, model)
    assert_equal(after, expected)
    assert_equal(optax.incremental_update(changed(model, 2), model, 0.5), changed(model))


def test_orbax_stores_them(tmp_path, model):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", changed(model))
        checkpointer.wait_until_finished()
        assert_equal(checkpointer.restore(tmp_path / "model", model), changed(model))


def test_copies_and_pickles_keep_the_config_and_equality_is_identity(model):
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_equal(other, model)
        assert other != model and model == model
    assert {model: 1}[model] == 1


def test_names_at_the_top_of_the_tree_are_in_them(model):
    assert "unet" in model and "params" not in model and nn.FrozenDict not in model
