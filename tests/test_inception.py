"""Inception against pytorch-fid: on its own machine, and by what it answered once."""

import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import DataUnavailable, Inception, load_inception
from tinyddpm.evaluation import inception
from tinyddpm.evaluation.convolution import convolve, pool, resize

STORED = Path(__file__).parent / "torch_files" / "inception.json"


def random_weights(shapes):
    """Weights that keep the network's numbers in range, always the same."""
    rng, weights = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        z = rng.standard_normal(shape, np.float32)
        if name.endswith("conv.weight"):
            z *= np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
        elif name.endswith("running_var"):
            z = np.exp(z / 3)
        else:
            z = z / 10 + np.float32(name.endswith("bn.weight"))
        weights[name] = z
    return weights


def question(shape):
    """Random bytes as images in [-1, 1]."""
    return (np.random.default_rng(1).integers(0, 256, shape) / 127.5 - 1).astype(np.float32)


def published_network():
    """pytorch-fid's network, without the weights that it would download."""
    try:
        torch = importlib.import_module("torch")
        theirs = importlib.import_module("pytorch_fid.inception")
    except Exception as error:  # torchvision has more ways to fail than ImportError
        pytest.skip(f"needs torch, torchvision and pytorch-fid ({error})")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(theirs, "load_state_dict_from_url", lambda *arguments, **named: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *arguments, **named: None)
        return theirs.fid_inception_v3()


def answers(network, weights, images, resize=True):
    """The features of pytorch-fid's network with these weights, and the probabilities of them."""
    torch = importlib.import_module("torch")
    theirs = importlib.import_module("pytorch_fid.inception")
    network.load_state_dict({name: torch.tensor(w) for name, w in weights.items()}, strict=False)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(theirs, "fid_inception_v3", lambda: network)
        extractor = theirs.InceptionV3([3], resize_input=resize).eval()
        images = images.repeat(3 // images.shape[-1], axis=-1).transpose(0, 3, 1, 2)
        features = extractor((torch.tensor(images) + 1) / 2)[0].flatten(1)
        probabilities = torch.softmax(features @ network.fc.weight.T, 1)
    return features.numpy(), probabilities.numpy()


@pytest.fixture(scope="module")
def stored():
    """The shape of every weight, and some answers of pytorch-fid with `random_weights`."""
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def weights(stored):
    return random_weights(stored["shapes"])


@pytest.fixture
def small(monkeypatch, weights):
    """The network looking at as few pixels as it can."""
    monkeypatch.setattr(inception, "SIDE", 75)
    return Inception(weights)


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 28, 28, 1), (1, 310, 330, 3)])
def test_it_answers_as_pytorch_fid(shape, weights):
    network, images = published_network(), question(shape)
    for mine, theirs in zip(Inception(weights)(images), answers(network, weights, images)):
        assert mine.shape == theirs.shape and np.abs(mine - theirs).max() < 1e-4


def test_it_answers_as_pytorch_fid_did_once(small, stored):
    features, probabilities = small(question((1, 75, 75, 3)))
    assert features.shape == (1, 2048) and probabilities.shape == (1, 1008)
    assert features[0, :10] == pytest.approx(stored["features"], abs=1e-5)
    assert probabilities[0, :10] == pytest.approx(stored["probabilities"], rel=1e-4)
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_bytes_are_what_their_values_in_the_range_of_models_are(small):
    bytes_ = np.random.default_rng(1).integers(0, 256, (1, 75, 75, 3), np.uint8)
    images = (bytes_ / 127.5 - 1).astype(np.float32)
    for mine, wanted in zip(small(bytes_), small(images)):
        assert np.allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_a_grey_image_is_three_equal_channels_and_chunks_are_put_together(small):
    grey = question((2, 20, 30, 1))
    features, probabilities = small(grey, chunk=1)
    again = small(grey[1:].repeat(3, axis=-1))
    assert len(features) == 2 and np.allclose(features[1:], again[0], atol=1e-5)
    assert np.allclose(probabilities[1:], again[1])


def test_wrong_images_and_wrong_weights_are_refused(small, weights):
    for shape in ((2, 8, 8, 2), (8, 8, 3), (0, 8, 8, 3)):
        with pytest.raises(ValueError, match=r"images of shape .*: give \(N, H, W, 1\) or"):
            small(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="no weights 'Mixed_7c.*this is another network"):
        Inception({name: w for name, w in weights.items() if "Mixed_7c" not in name})


def direct(x, W, stride, border):
    """The convolution as its formula is read."""
    (kh, kw, _, d), (n, h, w, _) = W.shape, x.shape
    top, left = (kh // 2, kw // 2) if border else (0, 0)
    rows, columns = ((s + 2 * b - k) // stride + 1 for s, b, k in ((h, top, kh), (w, left, kw)))
    y = np.zeros((n, rows, columns, d))
    for i in range(rows):
        for j in range(columns):
            for k in range(kh):
                for m in range(kw):
                    row, column = i * stride + k - top, j * stride + m - left
                    if 0 <= row < h and 0 <= column < w:
                        y[:, i, j] += x[:, row, column] @ W[k, m]
    return y


@pytest.mark.parametrize("stride, border", [(1, True), (1, False), (2, False)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 7), (7, 1), (5, 5), (3, 1)])
def test_convolutions_of_any_size(kernel, stride, border, rng):
    x, W = rng.standard_normal((2, 9, 8, 3)), rng.standard_normal((*kernel, 3, 4))
    assert np.allclose(convolve(x, W, stride, border), direct(x, W, stride, border))


def test_pools_do_not_count_the_border():
    x = np.arange(20.0).reshape(1, 4, 5, 1) - 30
    assert pool(x, "max")[0, :, :, 0].tolist()[0] == [-24, -23, -22, -21, -21]
    mean = pool(x, "mean")[0, :, :, 0]
    assert mean[0, 0] == x[0, :2, :2].mean() and mean[1, 4] == x[0, :3, 3:].mean()
    assert pool(x, "max", 2)[0, :, :, 0].tolist() == [[-18, -16]]
    assert pool(x, "mean", 2)[0, 0, 1, 0] == x[0, :3, 2:].mean()


def test_resizing_goes_by_the_middles_of_pixels():
    line = np.array([0.0, 1.0, 4.0]).reshape(1, 1, 3, 1)
    assert resize(line, 6)[0, 0, :, 0] == pytest.approx([0, 0.25, 0.75, 1.75, 3.25, 4])
    assert resize(line, 3)[0, 0, :, 0] == pytest.approx([0, 1, 4])
    assert resize(line, 1)[0, 0, :, 0] == pytest.approx([1])  # no smoothing


def test_only_the_published_file_is_taken(tmp_path, monkeypatch, serve):
    monkeypatch.setenv("TINYDDPM_DATA", str(tmp_path))
    content = (STORED.parent / "zipped.pth").read_bytes()
    address = serve({inception.NAME: content})
    monkeypatch.setattr(inception, "URL", address + inception.NAME)
    place = tmp_path / "inception" / inception.NAME
    with pytest.raises(
        DataUnavailable, match=r"put this file \(95,628,359 bytes, SHA-256 6726825d"
    ):
        load_inception()
    assert not place.exists()
    with pytest.raises(ValueError, match=r"is not pt_inc.*: its [\d,]+ bytes have another SHA-256"):
        load_inception(STORED.parent / "zipped.pth")
    with pytest.raises(FileNotFoundError):
        load_inception(tmp_path / "none.pth")
    monkeypatch.setattr(inception, "SHA256", inception.hashlib.sha256(content).hexdigest())
    for url in (address + inception.NAME, "http://127.0.0.1:9/none"):  # the second time, it is here
        monkeypatch.setattr(inception, "URL", url)
        with pytest.raises(ValueError, match="this is another network"):
            load_inception()
        assert place.read_bytes() == content
