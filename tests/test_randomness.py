"""Random numbers: the same for a key, others for another one, and spread as they should be."""

import numpy as np
import pytest

from tinyddpm import generator, module_for, random_generator, randomness, to_host


@pytest.fixture
def cupy():
    try:
        return module_for("cuda")
    except ValueError as error:
        pytest.skip(str(error))


def philox(key, counter):
    """Philox4x32-10 by Python's integers: four integers of 32 bits."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ k0, b % 2**32, a >> 32 ^ c3 ^ k1, a % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


ONES = 0xFFFFFFFF
KNOWN = {  # of the authors' library, Random123
    ((0, 0), (0, 0, 0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ((ONES, ONES), (ONES,) * 4): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
}


@pytest.mark.parametrize("key, counter", KNOWN)
def test_philox_gives_the_known_answers(key, counter):
    assert philox(key, counter) == KNOWN[key, counter]


def words(key, call, count):
    """The bits (count, 4) that a GPU should draw for a key."""
    k = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    k = k % 2**32, k >> 32
    return np.array([philox(k, (i, 0, call, 0)) for i in range(count)], np.uint64)


def uniform(words, dtype):
    a, b = words.T[:2]
    if dtype == np.float32:
        return ((a >> 8) / 2**24).astype(dtype)
    return ((a >> 5) * 2**26 + (b >> 6)) / 2**53


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gpu_draws_the_numbers_of_the_formulas(dtype, cupy):
    rng = random_generator([3, 0, 7], cupy)
    x, z, k = rng.random(50, dtype), rng.standard_normal((5, 10), dtype), rng.integers(-3, 4, 50)
    assert x.dtype == z.dtype == dtype and k.dtype == np.int64 and z.shape == (5, 10)
    first, second, third = (words([3, 0, 7], call, 50) for call in range(3))
    assert np.array_equal(to_host(x), uniform(first, dtype))
    u, v = uniform(second, dtype).astype(float), uniform(second[:, 2:], dtype).astype(float)
    wanted = (-2 * np.log(1 - u)) ** 0.5 * np.cos(2 * np.pi * v)
    assert np.abs(to_host(z).ravel() - wanted).max() <= (1e-5 if dtype == np.float32 else 1e-13)
    bits = third[:, 0] | third[:, 1] << np.uint64(32)
    assert np.array_equal(to_host(k), -3 + (bits % 7).astype(int))


@pytest.fixture(params=["NumPy", "CuPy"])
def xp(request):
    return np if request.param == "NumPy" else request.getfixturevalue("cupy")


def test_numbers_are_spread_as_they_should_be(xp):
    rng, n = random_generator([5], xp), 100_000
    x, z, k = (to_host(a) for a in (rng.random(n), rng.standard_normal(n), rng.integers(1, 6, n)))
    assert 0 <= x.min() and x.max() < 1
    counts = np.histogram(x, 50, (0, 1))[0], np.bincount(k, minlength=6)[1:]
    for count in counts:  # χ² is about its degrees of freedom, ± √(2 · that)
        expected = n / len(count)
        degrees = len(count) - 1
        assert ((count - expected) ** 2 / expected).sum() < degrees + 5 * (2 * degrees) ** 0.5
    moments = [(z**power).mean() for power in (1, 2, 3, 4)]
    assert np.allclose(moments, [0, 1, 0, 3], atol=0.1)
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.02


def test_the_key_decides(xp):
    draw = lambda *key: to_host(generator(*key, xp=xp).standard_normal(20))  # noqa: E731
    first = draw(1, "training", 4, 2)
    assert np.array_equal(first, draw(1, "training", 4, 2))
    for key in (
        (2, "training", 4, 2),
        (1, "noise", 4, 2),
        (1, "training", 5, 2),
        (1, "training", 4),
    ):
        assert not np.isin(first, draw(*key)).any()
    rng = random_generator([1], xp)
    assert not np.isin(to_host(rng.random(20)), to_host(rng.random(20))).any()


def test_each_call_of_a_generator_on_a_gpu_has_its_number(monkeypatch):
    calls = []
    monkeypatch.setattr(randomness, "_kernel", lambda *_: lambda key, call, *_: calls.append(call))
    rng = randomness.DeviceGenerator((1, 2), np)
    rng.random(3), rng.standard_normal(3), rng.integers(1, 7, 3)
    assert calls == [0, 1, 2]
