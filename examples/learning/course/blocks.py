"""The lessons on the convolution, attention and the residual block."""

from learning.lesson import Lesson, Mistake
from learning.trials import LayerTrial, Trials


def conv(stride, shape):
    return LayerTrial("Conv3x3", lambda cls, y: cls(y, "conv", 2, 7, stride=stride), {"x": shape})


CONV = Lesson(
    name="conv3x3",
    module="tinyddpm.nn.conv",
    target="Conv3x3",
    hole="Conv3x3.backward",
    question="""
        forward has kept x; patch_rows cuts the patches once more. Add the gradients of W and b to
        tape.grad, and return dx.
        - For row i of all patches, y is a Linear: rows_i(x) (N·H'·W', 3 C) times W_i, which is
          W[i] as a matrix (3 C, D). So what is dW_i, and what is the gradient of rows_i(x)?
        - A pixel of x was read by up to nine patches. How often is its gradient written, and with
          = or with +=? Does the way back undo patch_rows, or is it its transpose?
        - patch_rows puts self.before rows and columns of zeros in front of x, and 2 - before
          behind. What happens to the gradients of these zeros?
        - Which cell of the kernel did the patch at the left of a pixel use on it? If you scatter,
          need you turn the kernel? And if you gather?
    """,
    hints=(
        "Make an array of zeros with the shape of padded x. For each i and j, add the gradient of "
        "cell (i, j) of all patches to the slice that patch_rows cut this cell from. Then cut off "
        "the border.",
        "Cell (i, j) of the patches came from padded[:, i : i + H : stride, j : j + W : stride]. "
        "It "
        "gets dy W[i, j]ᵀ there with +=. Scattered so, the kernel stays as it is.",
    ),
    rules=(1, 2, 3, 4),
    trial=Trials({"": conv(1, (3, 4, 5, 2)), "stride 2: ": conv(2, (3, 4, 6, 2))}),
    special={
        "one image of one pixel": conv(1, (1, 1, 1, 2)),
        "one image": Trials({"": conv(1, (1, 4, 5, 2)), "stride 2: ": conv(2, (1, 4, 6, 2))}),
    },
    constants={
        "2": 2,
        "N": 3,
        "D": 7,
        "the pixels of y": 20,
        "9": 9,
        "N · pixels": 60,
        "stride 2's pixels": 6,
        "N · stride 2's pixels": 18,
    },  # fmt: skip
    mistakes=(
        Mistake(
            "for w in W)",
            "for w in W[::-1, ::-1])",
            "the kernel is turned once too often: scattered from patches it stays as it is; only "
            "who "
            "gathers for each pixel turns it by 180 degrees",
        ),
        Mistake(
            "for w in W)",
            "for w in W[::-1])",
            "the kernel's rows are in the opposite order in dx",
        ),
        Mistake(
            "for w in W)",
            "for w in W[:, ::-1])",
            "the kernel's columns are in the opposite order in dx",
        ),
        Mistake(
            "for w in W)",
            "for w in W.swapaxes(0, 1))",
            "the kernel's rows and columns are exchanged in dx",
        ),
        Mistake(
            "padded[:, :, j : j + w : stride] +=",
            "padded[:, :, j : j + w : stride] =",
            "gradients of overlapping patches are assigned with =: a pixel was read by several "
            "patches, so they add (rule 2)",
        ),
        Mistake(
            "triples[:, i : i + h : stride] +=",
            "triples[:, i : i + h : stride] =",
            "gradients of overlapping patches are assigned with =: a pixel was read by several "
            "patches, so they add (rule 2)",
        ),
        Mistake(
            ("padded[:, :, j : j + w : stride] +=", "triples[:, i : i + h : stride] +="),
            ("padded[:, :, j : j + w : stride] =", "triples[:, i : i + h : stride] ="),
            "gradients of overlapping patches are assigned with =: a pixel was read by several "
            "patches, so they add (rule 2)",
        ),
        Mistake(
            "return padded[:, before : before + h, before : before + w]",
            "return padded",
            "the border is not cut off: the zeros around x are no pixels, dx has the shape of x "
            "(rule 1)",
        ),
        Mistake(
            "return padded[:, before : before + h, before : before + w]",
            "return padded[:, :h, :w]",
            "the border is cut off at the wrong side: `before` rows and columns stand in front "
            "of x",
        ),
        Mistake(
            "return padded[:, before : before + h, before : before + w]",
            "return padded[:, 1 : 1 + h, 1 : 1 + w]",
            "with stride 2 there is no border in front of x: cut off `before` rows, not always one",
        ),
        Mistake(
            "return padded[:, before : before + h, before : before + w]",
            "return padded[:, 2:, 2:]",
            "the border is cut off at the wrong side: `before` rows and columns stand in front "
            "of x",
        ),
        Mistake(
            ("triples[:, i : i + h : stride] +=", "padded[:, :, j : j + w : stride] +="),
            ("triples[:, i : i + h // stride] +=", "padded[:, :, j : j + w // stride] +="),
            "the stride is forgotten in dx: patches were cut around every stride-th pixel, their "
            "gradients go back there",
        ),
        Mistake(
            "w.reshape(-1, len(db)).T",
            "w.reshape(len(db), -1)",
            "W is reshaped where it should be transposed: the numbers come into other places",
        ),
        Mistake(
            "padded[:, :, j : j + w : stride] +=",
            "padded[:, :, 1 : 1 + w : stride] +=",
            "all columns of the patches go back to the same pixels: cell j came from column + j",
        ),
        Mistake(
            "triples[:, i : i + h : stride] +=",
            "triples[:, 1 : 1 + h : stride] +=",
            "all rows of the patches go back to the same pixels: cell i came from row + i",
        ),
        Mistake(
            "for w in W)",
            "for w in W[::-1].swapaxes(0, 1))",
            "the kernel is turned by 90 degrees in dx: scattered from patches it stays as it is",
        ),
        Mistake(
            "for w in W)",
            "for w in W.swapaxes(0, 1)[::-1])",
            "the kernel is turned by 90 degrees in dx: scattered from patches it stays as it is",
        ),
        Mistake(
            "dw += (row.T @ dy).reshape(dw.shape)",
            "dw[...] = (row.T @ dy).reshape(dw.shape)",
            "dW is assigned with =: it throws away what was there before (rule 2)",
        ),
        Mistake(
            "dw += (row.T @ dy).reshape(dw.shape)",
            "dw[...] = dw + (row.T @ dy).reshape(dw.shape) / len(dy)",
            "dW is a mean over the patches: gradients of all patches add up",
        ),
        Mistake(
            "patch_rows(x, self.before, self.stride), dW)",
            "patch_rows(x, 1, self.stride), dW)",
            "dW comes from patches with a border in front, which stride 2 does not have: use "
            "self.before",
        ),
        Mistake(
            "dw += (row.T @ dy)",
            "dw[::-1] += (row.T @ dy)",
            "dW's columns are in the opposite order",
        ),
        Mistake(
            "dw += (row.T @ dy).reshape(dw.shape)",
            "dw += (row.T @ dy).reshape(dw.shape) / len(x)",
            "dW is divided by the batch: gradients of all patches add up, a 1/N belongs to the "
            "loss",
        ),
        Mistake(
            "db += dy.sum(axis=0)",
            "db += dy.sum(axis=0) / len(x)",
            "db is divided by the batch: gradients of all places add up, a 1/N belongs to the loss",
        ),
        Mistake(
            "db += dy.sum(axis=0)",
            "db += dy.mean(axis=0)",
            "db is a mean over the places: b was copied to all of them, so it gets the sum (rule "
            "3)",
        ),
        Mistake(
            "db += dy.sum(axis=0)",
            "db += dy.sum(axis=0) * len(x) / len(dy)",
            "db is a mean over the places of an image: b was copied to all of them, so it gets the "
            "sum (rule 3)",
        ),
        Mistake(
            "db += dy.sum(axis=0)",
            "db += dy[: len(dy) // len(x)].sum(axis=0)",
            "db has one image alone: b was copied to all images (rule 3)",
        ),
        Mistake(
            "db += dy.sum(axis=0)",
            "db += dy[:: len(dy) // len(x)].sum(axis=0)",
            "db has one place of each image alone: b was copied to all places (rule 3)",
        ),
    ),
)


def attention(heads, shape=(2, 3, 8)):
    inputs = {name: shape for name in "qkv"}
    return LayerTrial("Attention", lambda cls, y: cls("attention", shape[-1], heads), inputs)


ATTENTION = Lesson(
    name="attention",
    module="tinyddpm.nn.attention",
    target="Attention",
    hole="Attention.backward",
    question="""
        forward has kept q, k, v and A, each cut into heads by self._split. Backward returns dq, dk
        and dv, joined again by self._join. There are no weights.
        - y = A v is a product of two matrices: what are dA and dv?
        - A = softmax(score). In a row each A_i depends on every score_j. Write the 2 × 2 table of
          ∂A_i/∂score_j for a row of two. Why is A (1 - A) dA not enough?
        - A row of A always sums to 1. What must a row of dscore sum to?
        - score = q kᵀ / √d: what are dq and dk? How often does 1/√d occur in each? d is the number
          of channels of a head.
    """,
    hints=(
        "∂A_i/∂score_j = A_i (δ_ij - A_j). Sum dA_i times this over i: the sum Σ_i dA_i A_i is one "
        "number for a row.",
        "dv_j = Σ_i A_ij dy_i, so A is transposed there; dk_j = Σ_i dscore_ij q_i, so dscore is, "
        "too. S × S is square: nothing raises if you forget it.",
    ),
    rules=(2, 4),
    trial=Trials({"": attention(2), "one head: ": attention(1)}),
    special={
        "one pixel": attention(2, (2, 1, 8)),
        "channels of a head d = 1": attention(8),
    },
    constants={"2": 2, "d": 4, "S": 3, "C": 8},
    mistakes=(
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "A * (1 - A) * dA",
            "softmax is differentiated element by element: A (1 - A) is the diagonal of a matrix; "
            "each score moves all of its row",
        ),
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "A * dA",
            "the sum over the row is missing in dscore: A (dA - Σ A dA), as each score moves all "
            "of its row",
        ),
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "dA",
            "softmax itself is left out on the way back: dscore is not dA",
        ),
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "dA - (A * dA).sum(axis=-1, keepdims=True)",
            "the factor A is missing in dscore = A (dA - Σ A dA)",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "dA.sum(axis=-1, keepdims=True)",
            "the sum over the row lacks the factor A: dscore = A (dA - Σ A dA)",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "(A * dA).mean(axis=-1, keepdims=True)",
            "a mean over the row stands where the sum Σ A dA belongs",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "dA.mean(axis=-1, keepdims=True)",
            "a plain mean over the row stands where the sum Σ A dA belongs",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "(A * dA).sum(axis=-2, keepdims=True)",
            "the sum in dscore goes over columns: softmax went over the last axis, a row of A",
        ),
        Mistake(
            ("@ k * q.shape[-1] ** -0.5", "@ q * q.shape[-1] ** -0.5"),
            ("@ k", "@ q"),
            "the factor 1/√d is missing in dq and dk: score = q kᵀ / √d",
        ),
        Mistake(
            "@ k * q.shape[-1] ** -0.5",
            "@ k",
            "the factor 1/√d is missing in dq: score = q kᵀ / √d",
        ),
        Mistake(
            "@ q * q.shape[-1] ** -0.5",
            "@ q",
            "the factor 1/√d is missing in dk: score = q kᵀ / √d",
        ),
        Mistake(
            ("@ k * q.shape[-1] ** -0.5", "@ q * q.shape[-1] ** -0.5"),
            ("@ k * q.shape[-1] ** -1.0", "@ q * q.shape[-1] ** -1.0"),
            "dq and dk are divided by d, not by √d: either the root is missing, or 1/√d is applied "
            "twice (once in dscore, once in dq and dk)",
        ),
        Mistake(
            ("@ k * q.shape[-1] ** -0.5", "@ q * q.shape[-1] ** -0.5"),
            ("@ k * q.shape[-1] ** 0.5", "@ q * q.shape[-1] ** 0.5"),
            "dq and dk are multiplied by √d, where forward divides by it",
        ),
        Mistake(
            ("@ k * q.shape[-1] ** -0.5", "@ q * q.shape[-1] ** -0.5"),
            (
                "@ k * (self.heads * q.shape[-1]) ** -0.5",
                "@ q * (self.heads * q.shape[-1]) ** -0.5",
            ),
            "1/√d takes all channels for d: d is the number of channels of one head",
        ),
        Mistake(
            "dv = _transposed(A) @ dy",
            "dv = A @ dy",
            "dv lacks the transpose of A: y_i = Σ_j A_ij v_j, so dv_j = Σ_i A_ij dy_i (rule 4)",
        ),
        Mistake(
            "dk = _transposed(dscore) @ q",
            "dk = dscore @ q",
            "dk lacks the transpose of dscore: score_ij has k_j, so dk_j = Σ_i dscore_ij q_i "
            "(rule 4)",
        ),
        Mistake(
            "dq = dscore @ k",
            "dq = _transposed(dscore) @ k",
            "dq has dscore transposed: score_ij has q_i, so dq_i = Σ_j dscore_ij k_j",
        ),
        Mistake(
            ("dq = dscore @ k", "dk = _transposed(dscore) @ q"),
            ("dq = dscore @ q", "dk = _transposed(dscore) @ k"),
            "q and k are mixed up: score = q kᵀ, so dq is made with k, and dk with q",
        ),
        Mistake(
            "dA - (A * dA).sum(axis=-1, keepdims=True)",
            "dA + (A * dA).sum(axis=-1, keepdims=True)",
            "the sum over the row is added: dscore = A (dA - Σ A dA)",
        ),
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "A * (dA - A * dA.sum(axis=-1, keepdims=True))",
            "A stands outside of the sum over the row: dscore = A (dA - Σ A dA)",
        ),
        Mistake(
            "A * (dA - (A * dA).sum(axis=-1, keepdims=True))",
            "A * dA - (A * dA).sum(axis=-1, keepdims=True)",
            "the sum over the row is not multiplied by A: dscore = A (dA - Σ A dA)",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "(A * dA).sum()",
            "the sum goes over everything: each row of A was normalised by itself",
        ),
        Mistake(
            "(A * dA).sum(axis=-1, keepdims=True)",
            "(A * dA).max(axis=-1, keepdims=True)",
            "the largest A dA of the row stands where their sum belongs",
        ),
        Mistake(
            "dscore = A * (dA",
            "dscore = A * A * (dA",
            "the factor A is in dscore twice",
        ),
        Mistake(
            "dscore = A * (dA",
            "dscore = -A * (dA",
            "dscore has the wrong sign",
        ),
        Mistake(
            ("@ k * q.shape[-1] ** -0.5", "@ q * q.shape[-1] ** -0.5"),
            ("@ k * q.shape[-2] ** -0.5", "@ q * q.shape[-2] ** -0.5"),
            "1/√d takes the number of pixels for d: d is the number of channels of a head",
        ),
        Mistake(
            "return self._join(dq), self._join(dk), self._join(dv)",
            "return dq, dk, dv",
            "the heads are not joined again: self._join undoes what self._split did",
        ),
        Mistake(
            "return self._join(dq), self._join(dk), self._join(dv)",
            "return self._join(dk), self._join(dq), self._join(dv)",
            "dq and dk are returned in each other's places",
        ),
        Mistake(
            "dv = _transposed(A) @ dy",
            "dv = dy",
            "A is missing in dv: y = A v",
        ),
    ),
)

SHAPES = {"x": (3, 2, 4, 2), "emb": (3, 5)}


def resblock(c_out, shapes=SHAPES, dropout=0.3):
    return LayerTrial(
        "ResBlock", lambda cls, y: cls(y, "res", 2, c_out, 5, 1, dropout=dropout), shapes
    )


RESBLOCK = Lesson(
    name="resblock",
    module="tinyddpm.nn.blocks",
    target="ResBlock",
    hole="ResBlock.backward",
    question="""
        Every layer in this block has a backward already: `backward(dy, tape)` of each returns the
        gradient of its input, or a tuple if it has two. Backward returns dx and demb.
        - Read forward from the bottom up. dy goes two ways at once: which?
        - The tape is a stack. Which layer pushed last, and so must pop first? Look closely at skip.
        - x was used twice. How do its two gradients meet: the sum, the mean, one of them?
        - self.skip may be Identity, which returns dy itself. Into which array must you not write?
    """,
    hints=(
        "skip.backward comes first, as its forward was last; then conv2, dropout, norm2, add, "
        "shift, "
        "conv1, norm1. add.backward returns two gradients: the image's and the vector's.",
        "x1 + x2 with numbers: y = 2 x + 3 x has the slope 2 + 3, no mean (rule 2). Write the sum "
        "into what norm1 has returned, or into a new array; never into dy.",
    ),
    rules=(2, 3, 5),
    trial=Trials({"": resblock(3), "as many channels: ": resblock(2)}),
    special={
        "one pixel": resblock(3, {"x": (3, 1, 1, 2), "emb": (3, 5)}),
        "other channels at the end": resblock(3),
        "no dropout": Trials({"": resblock(3, dropout=0.0), "as many channels: ": resblock(2)}),
    },
    constants={"2": 2, "N": 3, "the pixels of an image": 8},
    mistakes=(
        Mistake(
            "dx += dx_skip",
            "pass",
            "the way past both convolutions is lost in dx: x is used twice, its gradients add "
            "(rule 2)",
        ),
        Mistake(
            "dx += dx_skip",
            "dx = dx_skip",
            "dx has the way past both convolutions alone: x is used twice, its gradients add "
            "(rule 2)",
        ),
        Mistake(
            "dx += dx_skip",
            "dx = (dx + dx_skip) / 2",
            "the two gradients of x are averaged: used twice, they add (rule 2)",
        ),
        Mistake(
            "dx += dx_skip",
            "dx = dx * dx_skip",
            "the two gradients of x are multiplied: used twice, they add (rule 2)",
        ),
        Mistake(
            "dx += dx_skip",
            "dx += 2 * dx_skip",
            "the way past both convolutions is added twice",
        ),
        Mistake(
            "dx += dx_skip",
            "dx -= dx_skip",
            "the way past both convolutions is subtracted: used twice, gradients add (rule 2)",
        ),
        Mistake(
            "dx += dx_skip",
            "dx += dx_skip / 2",
            "the way past both convolutions is halved: used twice, gradients add (rule 2)",
        ),
        Mistake(
            "dh = self.norm1.backward(dh, tape)\n",
            "self.norm1.backward(dh, tape)\n",
            "norm1's answer is not used: dx is what norm1.backward returns, plus skip's",
        ),
        Mistake(
            "dh = self.norm2.backward(dh, tape)",
            "dh = self.norm2.backward(dy, tape)",
            "norm2 gets dy: it must get what dropout.backward has returned",
        ),
        Mistake(
            "dh = self.dropout.backward(dh, tape)",
            "self.dropout.backward(dh, tape)",
            "dropout's answer is not used: norm2 must get what dropout.backward has returned",
        ),
        Mistake(
            "dh = self.dropout.backward(dh, tape)",
            "dh = self.dropout.backward(dy, tape)",
            "dropout gets dy: it must get what conv2.backward has returned",
        ),
        Mistake(
            "dh, dshift = self.add.backward(dh, tape)",
            "dh, dshift = self.add.backward(dh, tape); dh = dh + dshift[:, None, None]",
            "the shift's gradient is added to h's: the two go different ways",
        ),
        Mistake(
            "dx += dx_skip",
            "dx += dy",
            "dy itself is added where skip's gradient belongs: skip may be a Linear",
        ),
        Mistake(
            ("dx = dh", "dx += dx_skip"),
            ("dx = dx_skip", "dx += dh"),
            "the sum is written into dy: Identity returns dy itself, which others still need; "
            "write "
            "into what norm1 has returned",
        ),
        Mistake(
            "dh, dshift = self.add.backward(dh, tape)",
            "dshift = dh[:, 0, 0]",
            "demb comes from one pixel: emb went to all pixels, so its gradient is a sum (rule 3)",
        ),
        Mistake(
            "dh, dshift = self.add.backward(dh, tape)",
            "dshift = dh.mean(axis=(1, 2))",
            "demb is a mean over the pixels: emb went to all of them, so its gradient is a sum "
            "(rule 3)",
        ),
        Mistake(
            "dh, dshift = self.add.backward(dh, tape)",
            "dshift = dh",
            "the sum over the pixels is missing in front of shift: emb went to all of them (rule "
            "3)",
        ),
        Mistake(
            "dh, dshift = self.add.backward(dh, tape)",
            "dshift = dy.sum(axis=(1, 2))",
            "shift gets dy: it must get the gradient of h at the place where it was added",
        ),
        Mistake(
            "dx_skip = self.skip.backward(dy, tape)\n        dh = self.conv2.backward(dy, tape)",
            "dx_skip = self.skip.backward(dy, tape)\n        dh = self.conv2.backward(dx_skip, "
            "tape)",
            "conv2 gets skip's gradient: dy goes both ways, unchanged",
        ),
        Mistake(
            "return dx, demb",
            "return demb, dx",
            "the two results are swapped: dx comes first",
        ),
        Mistake(
            (
                "        dx_skip = self.skip.backward(dy, tape)\n",
                "        dx = dh\n",
            ),
            ("", "        dx = dh\n        dx_skip = self.skip.backward(dy, tape)\n"),
            "skip is asked last, or not at all: its forward was last, so it pops first (rule 5)",
        ),
        Mistake(
            "        dh = self.dropout.backward(dh, tape)\n",
            "",
            "dropout is left out on the way back: it pushed its mask, so it must pop it (rule 5)",
        ),
    ),
)
