"""The classifier: its derivatives, what it learns, and that it is learnt once and kept."""

from functools import partial

import numpy as np
import pytest
from conftest import random_theta

from tinyddpm import Dataset, Tape, classifier_judge, offline_digits
from tinyddpm.evaluation import judge as judging
from tinyddpm.evaluation.classifier import Classifier, ClassifierConfig, cross_entropy, moved
from tinyddpm.nn.gradcheck import complex_step, slope_gap, stencil
from tinyddpm.nn.optim import learning_rate

TINY = ClassifierConfig(8, 2, 3, base=4, features=5, groups=2, batch=6, epochs=2)
TOY = ClassifierConfig(base=4, features=16, groups=2, epochs=3, batch=32, dropout=0.0, lr=1e-2)


def test_cross_entropy_by_hand():
    logits = np.log([[1.0, 1.0, 2.0], [8.0, 1.0, 1.0]])
    loss, dlogits = cross_entropy(logits, np.array([2, 1]))
    assert loss == pytest.approx(np.log([2, 10]))
    wanted = np.array([[0.25, 0.25, -0.5], [0.8, -0.9, 0.1]])
    assert np.allclose(dlogits, wanted, rtol=1e-14)
    assert np.isfinite(cross_entropy(np.array([[1e4, -1e4]]), np.array([1]))[0]).all()


def test_the_layers_of_the_classifier_are_as_wide_as_ever():
    """Judges that were trained before must fit, and their scores must compare."""
    shapes = [param.shape for param in Classifier(ClassifierConfig()).layout.params]
    kernels = [shape[-2:] for shape in shapes if len(shape) == 4]
    assert kernels == [(1, 16), (16, 32), (32, 64), (64, 64)]
    assert [shape for shape in shapes if len(shape) == 2] == [(7 * 7 * 64, 128), (128, 10)]


@pytest.mark.parametrize("derivative", [complex_step, stencil])
def test_the_gradient_of_cross_entropy(rng, derivative):
    label = np.array([0, 2, 2, 1])

    def loss(z):
        return cross_entropy(z.reshape(4, 3), label)[0].sum()

    logits = 3 * rng.standard_normal(12)
    gradient = cross_entropy(logits.reshape(4, 3), label)[1].ravel()
    for direction in np.eye(12):
        assert slope_gap(loss, logits, gradient, direction, derivative) < 1e-10


def test_the_gradient_of_the_whole_classifier(rng):
    """By all weights at once and by each alone, and by the images; dropout's mask stays."""
    classifier, label = Classifier(TINY), np.array([1, 0, 2])
    theta, x = random_theta(classifier.layout, rng), rng.uniform(-1, 1, (3, 8, 8, 2))

    def tape(theta, grad=None):
        return Tape(theta, grad, np.random.default_rng(5))

    def loss(theta, x):
        return cross_entropy(classifier.forward(x, tape(theta))[1], label)[0].sum()

    grad = np.zeros_like(theta)
    there = tape(theta, grad)
    dx = classifier.backward(cross_entropy(classifier.forward(x, there)[1], label)[1], there)
    signs, where = rng.choice([-1.0, 1.0], theta.size), np.zeros(theta.size)
    assert slope_gap(partial(loss, x=x), theta, grad, signs) < 1e-12
    for param in classifier.layout.params:
        where[:] = 0
        where[param.span] = signs[param.span]
        assert slope_gap(partial(loss, x=x), theta, grad, where) < 1e-11, param
    by_x = slope_gap(
        lambda z: loss(theta, z.reshape(x.shape)), x.ravel(), dx.ravel(), signs[: x.size]
    )
    assert by_x < 1e-12 and len(there) == 0


def test_the_job_of_the_workers_is_the_gradient_of_the_mean_loss(rng):
    """Parts of a batch add up to the gradient of the whole, if nothing is moved or dropped."""
    config = ClassifierConfig(8, 2, 3, base=4, features=5, groups=2, batch=6, shift=0, dropout=0)
    classifier = Classifier(config)
    theta, grad = random_theta(classifier.layout, rng), np.zeros((2, classifier.layout.size))
    images, label = rng.integers(0, 256, (6, 8, 8, 2), np.uint8), np.arange(6) % 3
    losses = classifier.gradient(theta, grad[0], 0, 0, images, label)
    for some in (slice(0, 2), slice(2, 6)):
        assert np.allclose(
            classifier.gradient(theta, grad[1], 0, 0, images[some], label[some]), losses[some]
        )
    assert np.allclose(grad[0], grad[1], atol=1e-12)

    def mean_loss(theta):
        x = images / 127.5 - 1
        return cross_entropy(classifier.forward(x, Tape(theta))[1], label)[0].mean()

    exact = np.zeros_like(theta)
    tape = Tape(theta, exact)
    _, dlogits = cross_entropy(classifier.forward(images / 127.5 - 1, tape)[1], label)
    classifier.backward(dlogits / 6, tape)
    assert np.allclose(grad[0], exact, atol=1e-6)  # bytes become float32 on their way
    assert losses.mean() == pytest.approx(mean_loss(theta), rel=1e-6)


def test_images_are_moved_and_mirrored(rng):
    images = rng.standard_normal((200, 6, 5, 2))
    assert np.array_equal(moved(images, 0, False, rng), images)
    mirrored = moved(images, 0, True, rng)
    as_is = (mirrored == images).all(axis=(1, 2, 3))
    assert (as_is | (mirrored == images[:, :, ::-1]).all(axis=(1, 2, 3))).all()
    assert 70 < as_is.sum() < 130
    image = np.arange(30.0).reshape(1, 6, 5, 1)
    seen = {moved(image, 1, False, rng).tobytes() for _ in range(200)}
    bordered = np.pad(image[0, :, :, 0], 1, mode="edge")
    wanted = {bordered[y : y + 6, x : x + 5].tobytes() for y in range(3) for x in range(3)}
    assert seen == wanted


def test_its_training_says_how_far_it_is_and_warms_up(rng, monkeypatch):
    shown, rates = [], []
    monkeypatch.setattr(judging.Progress, "show", lambda self, done, note: shown.append(done))
    monkeypatch.setattr(judging.Adam, "update", lambda *given: rates.append(given[-1]))
    config = ClassifierConfig(8, 1, 2, base=4, features=5, groups=2, batch=5, epochs=2)
    data = Dataset("noise", rng.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 2)
    judging.train_classifier(Classifier(config), data, count=1)
    assert shown == [1, 2, 3, 4]
    assert rates == [learning_rate(step, 4, 2e-3, 50, 0.01) for step in range(4)]


@pytest.fixture(scope="module")
def digits():
    return offline_digits(1500, seed=0), offline_digits(300, seed=1)


@pytest.fixture(scope="module")
def theta(digits):
    return judging.train_classifier(Classifier(TOY), digits[0], count=1)


def test_it_learns_digits_in_seconds_and_judges_them(digits, theta, tmp_path, monkeypatch):
    monkeypatch.setattr(judging.ClassifierConfig, "of", lambda dataset: TOY)
    monkeypatch.setattr(judging, "train_classifier", lambda classifier, dataset: theta)
    monkeypatch.setattr(judging, "LOOK", 130)
    test = digits[1]
    with classifier_judge(digits[0], tmp_path) as judge:
        features, probabilities = judge(test.images)
    assert features.shape == (300, 16) and probabilities.shape == (300, 10)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == test.labels).mean() > 0.9
    x = test.images.astype(np.float32) / 127.5 - 1
    wanted, logits = Classifier(TOY).forward(x, Tape(theta))  # nothing is dropped or moved
    assert np.allclose(features, wanted, atol=1e-4)
    assert np.allclose(np.log(probabilities), logits - np.log(np.exp(logits).sum(axis=1))[:, None],
                       atol=1e-3)  # fmt: skip


def test_it_is_the_same_bit_for_bit_and_depends_on_the_seed(digits):
    config = ClassifierConfig(base=4, features=16, groups=2, epochs=1, batch=100)
    few = Dataset("few", digits[0].images[:300], digits[0].labels[:300])
    first, again, other = (
        judging.train_classifier(Classifier(c), few, count=1)
        for c in (config, config, ClassifierConfig(**{**vars(config), "seed": 1}))
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.fixture
def trainings(monkeypatch):
    """Counts trainings, which take no time."""
    done = []

    def train(classifier, dataset):
        done.append(dataset.name)
        return classifier.layout.init(np.random.default_rng(len(done)))

    monkeypatch.setattr(judging, "train_classifier", train)
    return done


def test_it_is_trained_once_for_the_same_data_and_settings(digits, tmp_path, trainings):
    kept = partial(judging.trained_classifier, folder=tmp_path)
    first = kept(Classifier(TOY), digits[0])
    assert np.array_equal(kept(Classifier(TOY), digits[0]), first) and len(trainings) == 1
    kept(Classifier(TOY), digits[1])
    kept(Classifier(ClassifierConfig(base=4, features=16, groups=2, seed=3)), digits[0])
    assert len(trainings) == 3
    assert len(list((tmp_path / "classifiers").iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "another", "not finite", "of float64"])
def test_a_damaged_one_is_made_again_and_said_to_be(digits, tmp_path, trainings, capsys, damage):
    kept = partial(judging.trained_classifier, folder=tmp_path)
    first = kept(Classifier(TOY), digits[0])
    (path,) = (tmp_path / "classifiers").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1000] if damage == "cut" else content)
    others = {
        "another": first[:-1], "not finite": first * np.nan, "of float64": first.astype(np.float64)
    }  # fmt: skip
    if damage in others:
        judging.save_checkpoint(path, {"theta": others[damage]}, {})
    assert not np.array_equal(kept(Classifier(TOY), digits[0]), first)
    assert str(path) in (out := capsys.readouterr().out) and "is trained again" in out
    assert len(trainings) == 2
    kept(Classifier(TOY), digits[0])
    assert len(trainings) == 2


def test_where_it_cannot_be_kept_it_serves_all_the_same(digits, tmp_path, trainings, capsys):
    (tmp_path / "classifiers").write_text("a file where the folder should be")
    theta = judging.trained_classifier(Classifier(TOY), digits[0], tmp_path)
    assert theta.shape == (Classifier(TOY).layout.size,)
    assert "could not be written" in capsys.readouterr().out


def test_what_suits_a_data_set(digits):
    assert ClassifierConfig.of(digits[0]) == ClassifierConfig(28, 1, 10)
    photographs = Dataset("p", np.zeros((3, 32, 32, 3), np.uint8), np.array([0, 4, 2]))
    config = ClassifierConfig.of(photographs)
    assert (config.image_size, config.image_channels, config.classes) == (32, 3, 5)
    assert config.flips


def test_what_cannot_be_judged_is_refused(digits):
    with pytest.raises(ValueError, match="30 pixels a side.*use a multiple of 4"):
        ClassifierConfig(30)
    few = Dataset("few", digits[0].images[:20], digits[0].labels[:20])
    with pytest.raises(ValueError, match="20 images of few for batches of 32: too few"):
        judging.train_classifier(Classifier(TOY), few, count=1)
