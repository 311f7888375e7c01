import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxem.families import Bernoulli, Categorical, Gaussian, Poisson, Product
from tests.families import cases


def dot_products(family, params, x):
    """How many matrix products a pass over the rows takes."""
    program = jax.make_jaxpr(lambda eta: family.potentials(eta, x))(family.natural(params))
    return str(program).count("dot_general")


def test_blocks_share_one_matrix_product(double):
    case = cases.product("diagonal")
    params, x = cases.cast(case.params, double), cases.cast(case.x, double)
    assert dot_products(case.family, params, x) == 1
    assert case.family.kernel().product_form
    tied = cases.product("tied")
    assert not tied.family.kernel().product_form
    params, x = cases.cast(tied.params, double), cases.cast(tied.x, double)
    alone = dot_products(Gaussian("tied"), params["size"], x["size"])
    assert dot_products(tied.family, params, x) == alone + 1


def test_a_table_and_a_dictionary_give_the_same(double):
    table, tables = cases.product(columns=cases.COLUMNS), cases.product()
    params = cases.cast(table.params, double)

    @jax.jit
    def both(params, x, y):
        one = table.family.potentials(table.family.natural(params), x)
        other = tables.family.potentials(tables.family.natural(params), y)
        return one, other, table.family.log_base(x), tables.family.log_base(y)

    one, other, base, other_base = both(params, cases.cast(table.x, double), cases.cast(tables.x, double))
    assert_allclose(one, other, rtol=1e-12)
    assert_allclose(base, other_base, rtol=1e-12)


def test_samples_put_columns_in_their_place(double):
    families = {"bits": Bernoulli(), "size": Gaussian("spherical")}
    family = Product(families, columns={"size": [2, 0], "bits": [1]})
    params = {
        "size": Gaussian("spherical").from_points(jnp.asarray([[50.0, -50.0]]), jnp.eye(2), jnp.ones(2)),
        "bits": Bernoulli().from_points(jnp.asarray([[1.0]]), jnp.ones((2, 1)), jnp.ones(2)),
    }
    x = family.sample(jax.random.key(1), params, jnp.zeros(20, int))
    family.check(x)
    assert x.shape == (20, 3)
    assert (x[:, 2] > 40).all()
    assert (x[:, 0] < -40).all()


def test_products_nest(double):
    inner = Product({"visits": Poisson(), "kind": Categorical(4)})
    outer = Product({"size": Gaussian("diagonal"), "rest": inner})
    assert "rest.visits.rate" in outer.parameters
    flat = cases.product("diagonal")
    nested = lambda tree: {"size": tree["size"], "rest": {n: tree[n] for n in ("visits", "kind")}}  # noqa: E731
    params, x = cases.cast(flat.params, double), cases.cast(flat.x, double)
    r = jnp.asarray(cases.responsibilities())

    @jax.jit
    def estimates(params, x):
        frozen = "visits.rate", "rest.visits.rate"
        one = cases.maximum(flat.family.kernel(), params, x, r, frozen[:1])
        return nested(one), cases.maximum(outer.kernel(), nested(params), nested(x), r, frozen[1:])

    one, other = estimates(params, x)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-10), one, other)
    assert_allclose(other["rest"]["visits"].rate, params["visits"].rate)


def test_a_frozen_block(double):
    case = cases.product("diagonal")
    params, x = cases.cast(case.params, double), cases.cast(case.x, double)
    found = jax.jit(
        lambda p: case.family.maximize(
            cases.collect(case.family, p, x, jnp.asarray(cases.responsibilities())), p, ("size",)
        )
    )(params)
    for new, old in zip(found["size"], params["size"], strict=True):
        assert_allclose(new, old)
    assert not np.allclose(found["visits"].rate, params["visits"].rate, rtol=1e-3)


def test_rows_that_are_refused_name_their_block():
    family = Product({"size": Gaussian(), "visits": Poisson()})
    good = {"size": np.array([[1.0], [2.0]]), "visits": np.array([[1.0], [2.0]])}
    family.check(good)
    with pytest.raises(ValueError, match=r"block 'visits' of data: row 1, column 0 has value -2.0"):
        family.check(good | {"visits": np.array([[1.0], [-2.0]])})
    with pytest.raises(ValueError, match="row for each observation"):
        family.check(good | {"visits": np.array([[1.0], [2.0], [0.0]])})
    with pytest.raises(ValueError, match=r"keys \['size', 'visits'\], got \['size'\]"):
        family.check({"size": good["size"]})
    with pytest.raises(ValueError, match="dictionary of tables"):
        family.check(np.ones((3, 2)))
    table = Product({"size": Gaussian(), "visits": Poisson()}, {"size": [1], "visits": [0]})
    table.check(np.array([[1.0, 2.0], [2.0, 3.0]]))
    with pytest.raises(ValueError, match=r"block 'visits' \(data\[:, \[0\]\]\): row 0, column 0 has value 1.5"):
        table.check(np.array([[1.5, 2.0], [2.0, 3.0]]))
    with pytest.raises(ValueError, match="must have 2 columns"):
        table.check(np.ones((4, 3)))


def test_options_that_are_refused():
    with pytest.raises(ValueError, match="at least one block"):
        Product({})
    with pytest.raises(ValueError, match="dictionary"):
        Product([Gaussian()])
    with pytest.raises(ValueError, match="without dots"):
        Product({"a.b": Gaussian()})
    with pytest.raises(ValueError, match="must be a family"):
        Product({"a": Gaussian})
    with pytest.raises(ValueError, match="columns must name the blocks"):
        Product({"a": Gaussian()}, {"b": [0]})
    for wrong in ({"a": [0, 1], "b": [1]}, {"a": [0], "b": [2]}, {"a": [-1], "b": [0]}):
        with pytest.raises(ValueError, match="each in exactly one block"):
            Product({"a": Gaussian(), "b": Poisson()}, wrong)
