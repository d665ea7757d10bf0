"""The lessons on small layers."""

import numpy as np

from learning.lesson import Lesson, Mistake
from learning.trials import LayerTrial

LINEAR = Lesson(
    name="linear",
    module="tinyddpm.nn.linear",
    target="Linear",
    hole="Linear.backward",
    question="""
        forward has kept x. You are given dy, the gradient of the loss by y, with y's shape. Add the
        gradients of W and b to tape.grad, and return dx.
        - Write the shapes of x, W and dy side by side. In which order do two of them make dW's?
        - b was added to every row. x may have two axes or more: what is a row then?
        - self.W.of(tape.grad) is a view of the gradient, where others may have added before you.
          What happens to it in `dW += a`, in `dW = a`, and in `dW[...] = a`?
    """,
    hints=(
        "Take one number: y_j = Σ_i x_i W_ij + b_j. So dW_ij gets x_i dy_j from each row, b_j "
        "gets dy_j from each row, and x_i gets Σ_j dy_j W_ij.",
        "With x and dy as matrices of rows, the sum over rows of x_i dy_j is a product of two "
        "matrices, one of them transposed. Only one order fits the shape of W.",
    ),
    rules=(1, 3, 4),
    trial=LayerTrial("Linear", lambda cls, y: cls(y, "linear", 4, 5), {"x": (3, 7, 4)}),
    special={
        "a batch of one row": LayerTrial(
            "Linear", lambda cls, y: cls(y, "linear", 4, 5), {"x": (1, 4)}
        ),
        "rows in one batch axis, x (N, n_in)": LayerTrial(
            "Linear", lambda cls, y: cls(y, "linear", 4, 5), {"x": (3, 4)}
        ),
    },
    constants={"2": 2, "N": 3, "the rows of an image": 7, "n_in": 4, "n_out": 5},
    mistakes=(
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(x).T @ rows(dy) / len(x)",
            "dW is divided by the batch: rows add up, nothing here is a mean; a 1/N belongs to the "
            "loss",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(x).T @ rows(dy) / len(rows(x))",
            "dW is divided by the number of rows: rows add up, nothing here is a mean",
        ),
        Mistake(
            "sum(axis=0)",
            "mean(axis=0)",
            "db is a mean over the rows: b was copied to every row, so it gets the sum (rule 3)",
        ),
        Mistake(
            "rows(dy).sum(axis=0)",
            "rows(dy).sum()",
            "db is one number for all of b: sum over the rows only, each b_j has a gradient of "
            "its own",
        ),
        Mistake(
            "rows(dy).sum(axis=0)",
            "rows(dy)",
            "db lacks the sum over the rows: b was copied to each of them (rule 3)",
        ),
        Mistake(
            "rows(dy).sum(axis=0)",
            "dy.sum(axis=0)",
            "db lacks the sum over all axes but the last: x may have more than two (rule 3)",
        ),
        Mistake(
            "rows(dy).sum(axis=0)",
            "rows(dy)[0]",
            "db has the first row alone: every row used b, so their gradients add (rule 3)",
        ),
        Mistake(
            "self.W.of(tape.theta).T",
            "self.W.of(tape.theta)",
            "dx lacks the transpose of W (rule 4)",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "x.T @ dy",
            "x and dy may have more than two axes: make them matrices of rows before you transpose",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(x) @ rows(dy)",
            "the transpose of x is missing in dW (rule 4)",
        ),
        Mistake(
            "dW += rows(x).T @ rows(dy)",
            "for a, b in zip(x, dy): dW[...] = a.T @ b",
            "dW keeps the last image alone: = in a loop throws away what the others gave (rule 2)",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(x).T @ (rows(x) @ self.W.of(tape.theta) + self.b.of(tape.theta))",
            "y stands where dy belongs",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(x).T @ rows(dy) + self.W.of(tape.theta)",
            "W itself is added to its gradient: the gradient is xᵀ dy alone",
        ),
        Mistake(
            "self.W.of(tape.theta).T",
            "self.W.of(tape.grad).T",
            "dx is made with the gradient of W: it is dy Wᵀ, with the weight, tape.theta",
        ),
        Mistake(
            "rows(x).T @ rows(dy)",
            "rows(dy).T @ rows(x)",
            "dW is transposed: xᵀ comes first, so that dW has the shape of W (rule 1)",
        ),
    ),
)

SILU = Lesson(
    name="silu",
    module="tinyddpm.nn.activation",
    target="SiLU",
    hole="SiLU.backward",
    question="""
        y = x s is a product, and both factors depend on x. forward has kept x, the input, and
        s = s(x), the sigmoid's output.
        - What is the slope of the sigmoid, written with s alone?
        - Which two terms has the slope of a product?
        - Try it by hand: x = 0 gives s = 1/2. What is dy/dx there?
    """,
    hints=(
        "The sigmoid's slope is s (1 - s), where s is its output. x (1 - x) would be right if x "
        "were the output.",
        "(x s)' = x' s + x s': the first factor's slope times the second, plus the other way "
        "round.",
    ),
    rules=(2,),
    trial=LayerTrial("SiLU", lambda cls, y: cls(), {"x": (3, 5)}),
    constants={"2": 2, "N": 3, "the numbers of a row": 5},
    mistakes=(
        Mistake(
            "x * s * (1 - s)",
            "x * x * (1 - x)",
            "the slope of the sigmoid is s (1 - s), with its output s; x (1 - x) takes the input "
            "for the output",
        ),
        Mistake(
            "(s + x * s * (1 - s))",
            "x * (1 - x)",
            "x (1 - x) takes the input for the output of a sigmoid; and y = x s is a product, "
            "whose "
            "slope has two terms",
        ),
        Mistake(
            " + x * s * (1 - s)",
            "",
            "s alone is half of the product rule: s depends on x, too",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x * s * (1 - s)",
            "the other half of the product rule is missing: x' s = s",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "s * (1 - s)",
            "this is the slope of the sigmoid; y is x times it, whose slope has two terms",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x * s + x * s * (1 - s)",
            "two right forms are mixed: s + y (1 - s) or y + s (1 - y), with y = x s",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "s + x * (1 - s)",
            "two right forms are mixed: s + x s (1 - s) or s + y (1 - s) with y = x s, not with x",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "s + x * s * (1 - x * s)",
            "two right forms are mixed: s + y (1 - s) or y + s (1 - y), with y = x s",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x * s + (1 - x * s)",
            "two right forms are mixed: s + y (1 - s) or y + s (1 - y), with y = x s",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x",
            "x is only one of the two factors, and its slope is 1: the product rule has two terms",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "s * (1 - s) + x * s",
            "the two halves of the product rule are mixed: x' s + x s' = s + x · s (1 - s)",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "1 + x * s * (1 - s)",
            "the first half of the product rule is x' s = s, not 1",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x + x * s * (1 - s)",
            "the first half of the product rule is x' s = s, not x",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "s + x * (s - 1)",
            "the slope of the sigmoid is s (1 - s), and it is multiplied by x",
        ),
        Mistake(
            "x, s = tape.pop(self)",
            "s, x = tape.pop(self)",
            "x and s are exchanged: they come back in the order in which they were pushed",
        ),
        Mistake(
            "dy * (",
            "(",
            "dy is missing: the slope of y by x is one factor, the gradient of y the other",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "x * s",
            "dy is multiplied by y; it must be multiplied by the slope of y",
        ),
        Mistake(
            "s + x * s * (1 - s)",
            "(x > 0)",
            "this is the slope of ReLU; SiLU is smooth, its slope needs s",
        ),
    ),
)

DROPOUT = Lesson(
    name="dropout",
    module="tinyddpm.nn.dropout",
    target="Dropout",
    hole="Dropout.backward",
    question="""
        Once the mask is drawn, y = c x with a constant c for every number. forward has kept the
        mask, or None where nothing was dropped.
        - Which constant is it, and what does backward multiply by?
        - Would another mask, drawn anew on the way back, do? Whose derivative would that be?
    """,
    hints=(
        "y = c x, so dx = c dy: the same c, for every number its own.",
        "c is mask / (1 - rate). forward and backward can share the function that applies it.",
    ),
    rules=(4, 5),
    trial=LayerTrial("Dropout", lambda cls, y: cls(0.3), {"x": (3, 5, 4)}),
    special={
        "a rate of 0": LayerTrial("Dropout", lambda cls, y: cls(0.0), {"x": (3, 5)}),
    },
    constants={"(1 - rate)": 0.7, "rate": 0.3, "2": 2},
    mistakes=(
        Mistake(
            "return self._masked(dy, mask)",
            "return dy if mask is None else dy * mask",
            "the division by 1 - rate is missing: forward enlarged what it kept, so its transpose "
            "does, too",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy",
            "the mask is missing: a number that forward dropped cannot change y",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy / (1 - self.rate)",
            "the mask is missing: a number that forward dropped cannot change y",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * (tape.rng.random(dy.shape, dtype='float32') >= self.rate) / (1 - "
            "self.rate)",
            "the mask is a new one: backward must use the one that forward has drawn",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * (tape.rng.random(dy.shape) >= self.rate) / (1 - self.rate)",
            "the mask is a new one: backward must use the one that forward has drawn",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * mask * (1 - self.rate)",
            "it is multiplied by 1 - rate: forward divides by it, and c x has the gradient c dy, "
            "not dy / c",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * mask / self.rate",
            "it is divided by the rate: the share that is kept is 1 - rate",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * (1 - mask) / (1 - self.rate)",
            "the mask is upside down: it is 1 where a number was kept",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * ~mask",
            "the mask is upside down: it is 1 where a number was kept",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return dy * mask.mean()",
            "the mean of the mask stands for the mask: each number has its own",
        ),
        Mistake(
            "return self._masked(dy, mask)",
            "return self._masked(self._masked(dy, mask), mask)",
            "the mask with its 1 / (1 - rate) is applied twice",
        ),
        Mistake(
            "a * mask / (1 - self.rate)",
            "a * mask",
            "nothing is divided by 1 - rate. That is right where the network is scaled at test "
            "time, as in Srivastava et al. 2014; here training divides, and tests do nothing",
            convention=True,
        ),
    ),
)

EMBEDDING = Lesson(
    name="embedding",
    module="tinyddpm.nn.embedding",
    target="Embedding",
    hole="Embedding.backward",
    question="""
        forward picks rows of a table. Backward returns nothing, since a label is no variable; it
        adds to the table's gradient.
        - In a batch with labels 2, 0, 2: which rows of dtable change, and by what?
        - What does NumPy do in `dtable[label] += dy` when a label occurs twice?
        - Is the null label's row learned like the others?
    """,
    hints=(
        "Row k was copied to all images with label k, so its gradient is the sum of their dy "
        "(rules 2 and 3). `dtable[label] += dy` keeps only the last of equal labels.",
        "Picking rows is a product with a matrix of zeros and ones, one_hot[n, k] = (label_n = k). "
        "Backward is a product with its transpose. np.add.at does the same.",
    ),
    rules=(2, 4),
    trial=LayerTrial(
        "Embedding",
        lambda cls, y: cls(y, "embedding", 4, 3),
        {},
        (np.array([4, 0, 2, 2, 4, 0, 2]),),
    ),
    special={
        "labels that are all different": LayerTrial(
            "Embedding", lambda cls, y: cls(y, "embedding", 4, 3), {}, (np.array([3, 0, 4]),)
        ),
    },
    constants={"2": 2, "N": 7, "the rows of the table": 5, "dim": 3, "classes": 4},
    mistakes=(
        Mistake(
            "dtable += one_hot.astype(dy.dtype) @ dy",
            "dtable[label] += dy",
            "of equal labels only one counts: a[i] += b adds once for each place, however often it "
            "occurs in i; use np.add.at or a product with one-hot labels (rule 2)",
        ),
        Mistake(
            "dtable += one_hot.astype(dy.dtype) @ dy",
            "dtable[label] = dy",
            "rows are assigned where gradients add, and of equal labels only the last one counts "
            "(rule 2)",
        ),
        Mistake(
            "dtable += one_hot",
            "one_hot[self.null] = 0; dtable += one_hot",
            "the row of the null label is left out: it is learned like any other",
        ),
        Mistake(
            "@ dy",
            "@ dy / len(dy)",
            "it is divided by the batch: rows add up, a 1/N belongs to the loss",
        ),
        Mistake(
            "@ dy",
            "@ dy / one_hot.sum(axis=1, keepdims=True).clip(1)",
            "each row is the mean over its label's images: gradients add, nothing is averaged "
            "(rule 2)",
        ),
        Mistake(
            "one_hot.astype(dy.dtype) @ dy",
            "one_hot.T.astype(dy.dtype) @ dy",
            "the one-hot matrix is not transposed, or once too often: (classes + 1, N) @ (N, dim)",
        ),
        Mistake(
            "== label",
            "!= label",
            "the one-hot labels are upside down: a row gets dy where the label is its own",
        ),
        Mistake(
            "dtable += one_hot.astype(dy.dtype) @ dy",
            "for i, k in enumerate(label): dtable[i] += dy[i]",
            "rows are taken by their place in the batch: dy[i] belongs to row label[i]",
        ),
        Mistake(
            "dtable += one_hot.astype(dy.dtype) @ dy",
            "dtable += dy.sum(axis=0)",
            "every row gets the sum over the batch: row k gets dy of the images with label k only",
        ),
        Mistake(
            "arange(self.null + 1)",
            "arange(self.null)",
            "there is one row more than classes: the last one is the null label's",
        ),
    ),
)
