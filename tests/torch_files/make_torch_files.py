"""What PyTorch writes, and what pytorch-fid's network answers.

    python tests/torch_files/make_torch_files.py       needs torch, torchvision and pytorch-fid

It was run once, with torch 2.13, torchvision 0.28 and pytorch-fid 0.3. What it writes beside itself
lets test_torch_file.py and test_inception.py do without them.
"""

import json
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from test_inception import answers, published_network, question, random_weights  # noqa: E402
from test_torch_file import ARRAYS  # noqa: E402

IMAGE = (1, 75, 75, 3)  # the smallest that the network can look at without resizing


def tensors():
    """ARRAYS of the test as PyTorch has them: transposed and cut tensors are views of others."""
    made = {name: torch.tensor(array) for name, array in ARRAYS.items()}
    grid = torch.arange(30.0).reshape(6, 5)
    made |= {"transposed": grid.t(), "cut": grid[1:3, ::2]}
    made |= {"bfloat16": made["bfloat16"].bfloat16(), "weight": torch.nn.Parameter(made["weight"])}
    return made


if __name__ == "__main__":
    for name, new in (("zipped.pth", True), ("before_zip.pth", False)):
        torch.save(tensors(), HERE / name, _use_new_zipfile_serialization=new)
    network = published_network()
    shapes = {name: list(w.shape) for name, w in network.state_dict().items() if w.ndim}
    features, probabilities = answers(
        network, random_weights(shapes), question(IMAGE), resize=False
    )
    found = {"features": features[0, :10].tolist(), "probabilities": probabilities[0, :10].tolist()}
    text = json.dumps({"shapes": shapes, **found}).replace('], "', '],\n"').replace('{"C', '{\n"C')
    (HERE / "inception.json").write_text(text + "\n", encoding="utf-8")
