"""OBProx-SG does the published steps, and its zeros are exactly zero."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vfijax.models import create, narrow
from vfijax.optim import (
    obproxsg,
    obproxsg_with_dense,
    one_dimensional,
    running_statistics,
    steps_of_epochs,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {
    name: case
    for name, case in json.loads((GOLDEN / "optim.json").read_text())["cases"].items()
    if "Np" in case
}


def plain(function):
    return function


def descend(optimizer, x, grads, wrap=plain):
    """The parameters after every step with given gradients."""

    @wrap
    def step(x, state, gradient):
        updates, state = optimizer.update(gradient, state, x)
        return optax.apply_updates(x, updates), state

    state, path = optimizer.init(x), []
    for gradient in grads:
        x, state = step(x, state, gradient)
        path.append(x)
    return path


def run(optimizer, x, grads, wrap=plain):
    """The parameters after all steps."""
    return descend(optimizer, x, grads, wrap)[-1]


def transcription(x, grads, rate, l1, phases, eps):
    """The published steps, one number at a time."""
    path = []
    for gradient, phase in zip(grads, phases, strict=True):
        new = []
        for value, g in zip(x, gradient, strict=True):
            if phase == "prox":
                z = value - rate * g
                threshold = rate * l1
                new.append(z - threshold if z > threshold else z + threshold if z < -threshold else 0)
            else:
                trial = value - rate * (g + l1 * np.sign(value))
                new.append(trial if trial * np.sign(value) > eps else 0)
        x = np.array(new, x.dtype)
        path.append(x)
    return path


def same(found, expected, atol=1e-6):
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=f"after step {step}")
        np.testing.assert_array_equal(a == 0, b == 0, err_msg=f"zeros after step {step}")


def random_problem(seed, size=400, steps=9):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-5, 0, size)
    x = (rng.normal(size=size) * scale).astype(np.float32)
    x[rng.random(size) < 0.1] = 0
    return jnp.asarray(x), jnp.asarray((rng.normal(size=(steps, size)) * scale).astype(np.float32))


# ------------------------------------------------------------------------------ the published steps


@pytest.mark.parametrize("name", CASES)
def test_every_published_case_is_reproduced_with_its_zeros(name):
    case = CASES[name]
    with np.load(GOLDEN / "optim.npz", allow_pickle=False) as file:
        x0, grads, expected = file["x0"], file["grads"], file[f"{name}/params"]
    steps = partial(steps_of_epochs, items=case["epochSize"], batch=1)
    orthant = steps(case["No"]) if "No" in case else None
    optimizer = obproxsg(case["lr"], case["lambda_"], steps(case["Np"]), orthant, case["eps"])
    found = descend(optimizer, jnp.asarray(x0), jnp.asarray(grads))
    same(found, expected)
    assert [int((x == 0).sum()) for x in found] == case["zeros_after"]


def test_there_are_published_cases():
    assert len(CASES) == 4


# proximal steps, orthant steps, and the nine phases that they make
ROUNDS = {
    "never orthant": (2, 0, "ppppppppp"),
    "orthant for ever": (2, None, "ppooooooo"),
    "rounds": (2, 1, "ppoppoppo"),
    "never proximal": (0, None, "ooooooooo"),
    "one each": (1, 1, "popopopop"),
}


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(("seed", "eps"), [(0, 0.0), (1, 0.0), (2, 1e-3)])
def test_it_equals_a_transcription_in_numpy(rounds, seed, eps):
    proximal, orthant, letters = ROUNDS[rounds]
    x, grads = random_problem(seed)
    phases = ["prox" if letter == "p" else "orthant" for letter in letters]
    found = descend(obproxsg(0.05, 0.1, proximal, orthant, eps), x, grads)
    rate, l1 = np.float32(0.05), np.float32(0.1)
    same(found, transcription(np.asarray(x), np.asarray(grads), rate, l1, phases, eps))


def test_the_steps_of_a_round_tell_the_phases_apart():
    """At zero with a large gradient, a proximal step leaves zero and an orthant step does not."""
    optimizer = obproxsg(1.0, 0.1, 2, 3)
    state, moved = optimizer.init(jnp.zeros(())), []
    for _ in range(11):
        updates, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        moved.append(bool(updates != 0))
    assert moved == [True, True, False, False, False] * 2 + [True]
    assert state.step == 11


@pytest.mark.parametrize("wrap", [plain, jax.jit])
def test_zeros_are_exact_over_eight_decades_stay_and_no_sign_flips_in_orthant_steps(wrap):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=200_000) * 10.0 ** rng.uniform(-7, 1, 200_000)).astype(np.float32)
    grads = (rng.normal(size=(4, x.size)) * 10.0 ** rng.uniform(-7, 1, x.size)).astype(np.float32)
    first, *rest = map(np.asarray, descend(obproxsg(0.3, 0.01, 1), jnp.asarray(x), jnp.asarray(grads), wrap))
    intended = np.abs(x.astype(np.float64) - 0.3 * grads[0]) < 0.3 * 0.01 * (1 - 1e-3) - 1e-6 * np.abs(x)
    assert intended.sum() > 20_000 and (first[intended] == 0).all()
    for after in rest:
        assert (after[first == 0] == 0).all()
        assert (after * first >= 0).all()
        assert (after == 0).sum() > (first == 0).sum()
        first = after


def test_a_schedule_is_read_at_the_step():
    rates = [0.1, 0.2, 0.05, 0.3, 0.0]
    x, grads = random_problem(3, steps=5)
    found = descend(obproxsg(lambda step: jnp.asarray(rates)[step], 0.1, 2), x, grads)
    expected, value = [], np.asarray(x)
    for i, rate in enumerate(rates):
        phase = ["prox" if i < 2 else "orthant"]
        [value] = transcription(
            value, np.asarray(grads[i : i + 1]), np.float32(rate), np.float32(0.1), phase, 0
        )
        expected.append(value)
    same(found, expected)


def test_a_gradient_that_is_not_a_number_is_not_hidden_as_a_zero():
    x, gradient = jnp.asarray([1.0, -1.0, 0.0]), jnp.full(3, jnp.nan)
    for proximal in (1, 0):
        [after] = descend(obproxsg(0.1, 0.1, proximal), x, [gradient])
        assert np.isnan(after).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_parameters_keep_their_dtype_and_have_exact_zeros_in_it(dtype):
    x, grads = random_problem(4)
    narrow_x = x.astype(dtype)
    found = descend(obproxsg(0.05, 0.1, 1), narrow_x, grads)
    assert found[-1].dtype == narrow_x.dtype
    wide = np.asarray(narrow_x, np.float32) - np.float32(0.05) * np.asarray(grads[0])
    assert (found[0][np.abs(wide) < 0.004] == 0).all()


# ------------------------------------------------------------------------ convergence on convex problems


def lasso():
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(80, 40)) / np.sqrt(80)
    truth = np.where(rng.random(40) < 0.25, rng.normal(size=40), 0)
    target = matrix @ truth + 0.01 * rng.normal(size=80)
    return matrix, target


def ista(matrix, target, l1, steps=20_000):
    """The minimiser of |Ax - b|^2 / 2 + l1 |x|_1 by iterated soft thresholding in float64."""
    rate = 1 / np.linalg.norm(matrix, 2) ** 2
    x = np.zeros(matrix.shape[1])
    for _ in range(steps):
        z = x - rate * matrix.T @ (matrix @ x - target)
        x = np.sign(z) * np.maximum(np.abs(z) - rate * l1, 0)
    return x


@pytest.mark.parametrize(("proximal", "orthant"), [(200, None), (50, 50)])
def test_it_finds_the_minimum_and_the_support_of_a_lasso_problem(proximal, orthant):
    matrix, target = lasso()
    expected = ista(matrix, target, 0.05)
    a, b = jnp.asarray(matrix, jnp.float32), jnp.asarray(target, jnp.float32)
    optimizer = obproxsg(0.3, 0.05, proximal, orthant)

    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(a.T @ (a @ x - b), state, x)
        return (optax.apply_updates(x, updates), state), None

    start = jnp.ones(40)
    (x, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=2000)
    np.testing.assert_allclose(x, expected, atol=1e-4)
    np.testing.assert_array_equal(x == 0, expected == 0)
    assert 0 < (expected == 0).sum() < 40


def test_with_an_orthogonal_design_it_ends_at_the_soft_threshold_of_least_squares():
    basis, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(30, 30)))
    target = np.random.default_rng(7).normal(size=30)
    least = basis.T @ target
    expected = np.sign(least) * np.maximum(np.abs(least) - 0.4, 0)
    optimizer, x = obproxsg(0.5, 0.4, 40), jnp.zeros(30)
    state = optimizer.init(x)
    for _ in range(60):
        gradient = jnp.asarray(basis.T @ (basis @ np.asarray(x, np.float64) - target), jnp.float32)
        updates, state = optimizer.update(gradient, state, x)
        x = optax.apply_updates(x, updates)
    np.testing.assert_allclose(x, expected, atol=1e-6)
    np.testing.assert_array_equal(x == 0, expected == 0)


# ------------------------------------------------------------------------- within other transformations


def test_jit_and_scan_give_what_plain_calls_give():
    x, grads = random_problem(8)
    optimizer = obproxsg(0.05, 0.1, 2, 3)
    expected = run(optimizer, x, grads)

    def step(carry, gradient):
        updates, state = optimizer.update(gradient, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    (scanned, _), _ = jax.jit(partial(jax.lax.scan, step))((x, optimizer.init(x)), grads)
    same([run(optimizer, x, grads, jax.jit), scanned], [np.asarray(expected)] * 2)


def test_last_in_a_chain_it_sees_the_clipped_gradient():
    x, grads = random_problem(9)
    chained = run(optax.chain(optax.clip(0.1), obproxsg(0.5, 0.1, 2)), x, grads)
    same([chained], [np.asarray(run(obproxsg(0.5, 0.1, 2), x, jnp.clip(grads, -0.1, 0.1)))])


def test_accumulated_gradients_make_one_step_of_their_mean():
    x, grads = random_problem(10, steps=12)
    optimizer = obproxsg(0.05, 0.1, 2)
    accumulated = run(optax.MultiSteps(optimizer, 3), x, grads, jax.jit)
    same([accumulated], [np.asarray(run(optimizer, x, grads.reshape(4, 3, -1).mean(1)))])


def test_sharded_parameters_stay_sharded_and_become_the_same():
    x, grads = random_problem(11, size=400)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    optimizer = obproxsg(0.05, 0.1, 2, 2)
    sharded = run(
        optimizer,
        jax.device_put(x, sharding),
        jax.device_put(grads, NamedSharding(mesh, PartitionSpec(None, "x"))),
        jax.jit,
    )
    assert sharded.sharding.is_equivalent_to(sharding, 1)
    same([np.asarray(sharded)], [np.asarray(run(optimizer, x, grads))])


def test_hyperparameters_can_be_injected():
    x, grads = random_problem(12)
    static = ("l1", "proximal_steps", "orthant_steps", "eps")
    injected = optax.inject_hyperparams(obproxsg, static_args=static)(0.05, 0.1, 2)
    same([run(injected, x, grads, jax.jit)], [np.asarray(run(obproxsg(0.05, 0.1, 2), x, grads))])


# ----------------------------------------------------------------------------------- dense leaves


def test_leaves_kept_dense_take_plain_gradient_steps_and_the_others_do_not_notice():
    x, grads = random_problem(13)
    tree = {"kernel": x.reshape(20, 20), "bias": x[:20]}
    steps = [{"kernel": g.reshape(20, 20), "bias": g[:20]} for g in grads]
    mixed = run(obproxsg_with_dense(0.05, 0.1, 2, dense=one_dimensional), tree, steps, jax.jit)
    same([mixed["kernel"].ravel()], [np.asarray(run(obproxsg(0.05, 0.1, 2), x, grads))])
    np.testing.assert_allclose(mixed["bias"], x[:20] - 0.05 * grads[:, :20].sum(0), atol=1e-6)


@pytest.mark.parametrize("dense", [{"a": True, "b": False}, lambda params: {"a": True, "b": False}])
def test_a_mask_or_a_function_names_the_dense_leaves_and_they_descend(dense):
    optimizer = obproxsg_with_dense(0.1, 5.0, 3, dense=dense)
    start = {"a": jnp.full((4, 4), 2.0), "b": jnp.full((4, 4), 2.0)}
    tree, state = start, optimizer.init(start)
    for _ in range(20):  # of the loss |x - 1|^2 / 2
        updates, state = optimizer.update(jax.tree.map(lambda leaf: leaf - 1, tree), state, tree)
        tree = optax.apply_updates(tree, updates)
    np.testing.assert_allclose(tree["a"], 1 + 0.9**20, rtol=1e-5)
    assert (tree["b"] == 0).all()


def test_it_works_on_the_parameters_of_a_model():
    params = create(narrow("compressed_adacof"), 0)
    optimizer = obproxsg_with_dense(0.1, 1.0, 1, dense=one_dimensional)
    updates, _ = jax.jit(optimizer.update)(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    after = optax.apply_updates(params, updates)
    assert after.config == params.config
    layer, old = after.tree["unet"]["conv3_1"], params.tree["unet"]["conv3_1"]
    np.testing.assert_array_equal(layer["bias"], old["bias"])
    np.testing.assert_array_equal(layer["kernel"] == 0, jnp.abs(old["kernel"]) <= 0.1)


# ------------------------------------------------------------------------ numbers that are traced

HYPER = dict(learning_rate=0.1, l1=0.5, proximal_steps=3)
INJECTED = {
    "numbers": HYPER,
    "rounds": dict(HYPER, orthant_steps=2),
    "an eps": dict(HYPER, eps=0.01),
    "a schedule": dict(HYPER, learning_rate=lambda step: 0.1 / (step + 1)),
    "a whole number as rate": dict(HYPER, learning_rate=1),
    "arrays": {name: jnp.asarray(value) for name, value in HYPER.items()},
    "arrays of NumPy": {name: np.asarray(value) for name, value in HYPER.items()},
}


@pytest.mark.parametrize("wrap", [plain, jax.jit])
@pytest.mark.parametrize("name", INJECTED)
def test_injected_hyperparameters_give_the_same_steps(name, wrap):
    x, grads = random_problem(3)
    found = descend(optax.inject_hyperparams(obproxsg)(**INJECTED[name]), x, grads, wrap)
    same(found, descend(obproxsg(**INJECTED[name]), x, grads, wrap))


def test_injected_hyperparameters_work_with_dense_leaves():
    x, grads = random_problem(4)
    tree, steps = {"a": x, "b": x[:3]}, [{"a": g, "b": g[:3]} for g in grads]
    injected = optax.inject_hyperparams(obproxsg_with_dense, static_args="dense")
    optimizers = [make(**HYPER, dense={"a": False, "b": True}) for make in (injected, obproxsg_with_dense)]
    optimizers.append(injected(**HYPER, dense=lambda tree: {"a": False, "b": True}))
    ends = [run(optimizer, tree, steps, jax.jit) for optimizer in optimizers]
    for end in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, ends[0], end)


def test_hyperparameters_may_be_changed_between_steps():
    x, grads = random_problem(5, steps=2)
    optimizer = optax.inject_hyperparams(obproxsg)(**HYPER)
    update = jax.jit(optimizer.update)
    state = optimizer.init(x)
    for rate, gradient in zip((0.1, 0.2), grads, strict=True):
        state.hyperparams["learning_rate"] = jnp.asarray(rate)
        updates, state = update(gradient, state, x)
        expected = run(obproxsg(**{**HYPER, "learning_rate": rate}), x, [gradient])
        same([optax.apply_updates(x, updates)], [expected])


def test_a_whole_optimiser_may_be_made_inside_jit():
    x, grads = random_problem(6, steps=1)

    @jax.jit
    def step(rate, l1, proximal, orthant, eps):
        return run(obproxsg(rate, l1, proximal, orthant, eps), x, grads)

    same([step(0.1, 0.5, 1, 2, 0.0)], [run(obproxsg(0.1, 0.5, 1, 2), x, grads)])


# --------------------------------------------------------------------------- leaves that do not move

STILL = {
    "whole numbers": jnp.arange(3),
    "8 bits": jnp.arange(3, dtype=jnp.uint8),
    "booleans": jnp.asarray([True, False, True]),
}
OPTIMIZERS = {
    "obproxsg": obproxsg(0.1, 0.5, 1),
    "orthant": obproxsg(0.1, 0.5, 0),
    "with dense": obproxsg_with_dense(0.1, 0.5, 1, dense=one_dimensional),
    "with sparse": obproxsg_with_dense(0.1, 0.5, 1, dense=lambda tree: jax.tree.map(lambda _: False, tree)),
}


@pytest.mark.parametrize("wrap", [plain, jax.jit])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("leaf", STILL)
def test_leaves_that_are_not_floating_point_stay_whatever_their_gradient(leaf, optimizer, wrap):
    optimizer, still = OPTIMIZERS[optimizer], STILL[leaf]
    tree = {"x": jnp.ones((2, 2)), "still": still}
    float0 = jax.grad(lambda t: jnp.sum(t["x"] ** 2), allow_int=True)(tree)["still"]
    assert float0.dtype == jax.dtypes.float0
    for gradient in (jnp.zeros(3), jnp.ones(3), jnp.ones(3, still.dtype), float0, None):
        grads = {"x": jnp.ones((2, 2)), "still": gradient}
        updates, _ = wrap(lambda state, grads=grads: optimizer.update(grads, state, tree))(
            optimizer.init(tree)
        )
        after = optax.apply_updates(tree, updates)
        np.testing.assert_array_equal(after["still"], still)
        assert after["still"].dtype == still.dtype and (after["x"] != tree["x"]).all()


def test_gradients_that_cannot_be_those_of_a_parameter_are_refused():
    x = jnp.ones((2, 2))
    optimizer = obproxsg(0.1, 0.5, 1)
    for gradient, error, message in [
        (jnp.ones(2), ValueError, r"a gradient is \(2,\), its parameter \(2, 2\)"),
        (
            np.zeros((2, 2), jax.dtypes.float0),
            TypeError,
            r"of a parameter float32\[2, 2\] is float0; give zeros",
        ),
        (None, TypeError, r"of a parameter float32\[2, 2\] is None; give zeros"),
    ]:
        with pytest.raises(error, match=f"obproxsg: .*{message}"):
            optimizer.update([gradient], optimizer.init([x]), [x])
    with pytest.raises(TypeError, match="obproxsg: a parameter is complex64; real ones are needed"):
        optimizer.update(x, optimizer.init(x), x.astype(jnp.complex64))


# -------------------------------------------------------------------------------------- mistakes


def test_stored_statistics_of_a_normalisation_are_left_alone():
    params = create(narrow("adaconv"), 0)
    optimizer = obproxsg_with_dense(0.1, 1.0, 1, dense=running_statistics)
    gradients = jax.tree.map(jnp.zeros_like, params)  # the network gives its statistics none
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    moved = jax.tree_util.tree_map_with_path(lambda path, d: (path[-1].key, bool(jnp.any(d))), updates)
    by_name = jax.tree.leaves(moved, is_leaf=lambda x: isinstance(x, tuple))
    assert {name for name, moves in by_name if moves} >= {"kernel", "scale"}
    assert not {name for name, moves in by_name if moves} & {"mean", "variance"}


def test_without_the_parameters_it_says_how_to_give_them():
    optimizer = obproxsg(0.1, 0.1, 1)
    with pytest.raises(ValueError, match=r"update\(grads, state, params\)"):
        optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))


MISTAKES = [
    (dict(learning_rate=0.0), ValueError, "learning_rate is 0.0; it must be positive"),
    (dict(learning_rate=-1), ValueError, "learning_rate is -1"),
    (dict(l1=-1e-4), ValueError, "l1 is -0.0001; it must be at least 0"),
    (dict(l1=float("nan")), ValueError, "l1 is nan"),
    (dict(eps=-1.0), ValueError, "eps is -1.0"),
    (dict(proximal_steps=-1), ValueError, "proximal_steps is -1"),
    (dict(proximal_steps=1.5), TypeError, "proximal_steps is 1.5; .*steps_of_epochs"),
    (dict(orthant_steps=-2), ValueError, "orthant_steps is -2"),
    (dict(orthant_steps="all"), TypeError, "orthant_steps is 'all'"),
    (dict(proximal_steps=0, orthant_steps=0), ValueError, "both 0"),
    (dict(learning_rate="x"), TypeError, "learning_rate is 'x'; give a positive number, or a function of"),
    (dict(learning_rate=None), TypeError, "learning_rate is None; give a positive number"),
    (dict(learning_rate=True), TypeError, "learning_rate is True"),
    (dict(learning_rate=1j), TypeError, "learning_rate is 1j"),
    (dict(learning_rate=[0.1]), TypeError, r"learning_rate is \[0.1\]"),
    (dict(learning_rate=np.ones(2)), TypeError, r"learning_rate is array\(\[1., 1.\]\)"),
    (dict(learning_rate=np.float32(0)), ValueError, "learning_rate is 0.0; it must be positive"),
    (dict(learning_rate=jnp.asarray(-1.0)), ValueError, "learning_rate is -1.0"),
    (dict(learning_rate=float("inf")), ValueError, "learning_rate is inf"),
    (dict(learning_rate=float("nan")), ValueError, "learning_rate is nan"),
    (dict(l1="1e-4"), TypeError, "l1 is '1e-4'; give a number"),
    (dict(l1=None), TypeError, "l1 is None; give a number"),
    (dict(eps=None), TypeError, "eps is None"),
    (dict(eps=jnp.asarray(-1.0)), ValueError, "eps is -1.0"),
    (dict(proximal_steps=jnp.asarray(1.0)), TypeError, "proximal_steps is .*steps_of_epochs"),
    (dict(proximal_steps=None), TypeError, "proximal_steps is None"),
]


@pytest.mark.parametrize(("changes", "error", "message"), MISTAKES)
def test_arguments_out_of_range_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        obproxsg(**{"learning_rate": 0.1, "l1": 0.1, "proximal_steps": 1, **changes})


def test_epochs_become_iterations_as_in_the_published_code():
    assert steps_of_epochs(10, 1000, 8) == 1250
    assert steps_of_epochs(2, 1001, 8) == 250
    assert steps_of_epochs(3, 5, 8) == 3
    assert steps_of_epochs(3, 0, 8) == 3
    assert steps_of_epochs(np.int64(2), np.int32(16), np.uint8(8)) == 4
    with pytest.raises(ValueError, match="batch at least 1"):
        steps_of_epochs(1, 10, 0)
    with pytest.raises(TypeError, match=r"steps_of_epochs: epochs is 1\.5; a whole number is needed"):
        steps_of_epochs(1.5, 10, 1)
