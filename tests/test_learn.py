"""The lessons: an empty one fails readably, the project's code passes, mistakes are named."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import learn  # noqa: E402
from learning import source  # noqa: E402
from learning.check import check  # noqa: E402
from learning.course import LESSONS  # noqa: E402
from learning.page import page  # noqa: E402
from learning.variants import edited  # noqa: E402

BY_NAME = {lesson.name: lesson for lesson in LESSONS}
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)


def answer(lesson, text, folder):
    path = folder / f"{lesson.name}.py"
    path.write_text(text, encoding="utf-8")
    return check(lesson, path)


@each_lesson
def test_an_untouched_lesson_fails_with_a_readable_line(lesson, tmp_path):
    solved, lines = answer(lesson, page(lesson, 1, 1), tmp_path)
    assert not solved and len(lines) == 1
    assert re.search(rf"{lesson.name}.py, line \d+: {lesson.hole} is still empty", lines[0])


@each_lesson
def test_the_project_s_own_code_passes(lesson, tmp_path):
    started = time.process_time()
    solved, lines = answer(lesson, source.solution(lesson), tmp_path)
    assert solved and lines[0].startswith("  right   ") and len(lines) == 1
    assert time.process_time() - started < 2


@each_lesson
def test_the_package_s_file_as_it_is_passes(lesson, tmp_path):
    path = ROOT / (lesson.module.replace(".", "/") + ".py")
    assert answer(lesson, path.read_text(encoding="utf-8"), tmp_path).solved


@each_lesson
def test_a_lesson_says_what_is_wanted_but_not_the_answer(lesson):
    text = page(lesson, 3, 18)
    compile(text, lesson.name, "exec")
    assert max(map(len, text.splitlines())) <= 100
    assert "Lesson 3 of 18" in text and "?" in text and "Backward   " not in text
    left_out = source.answer_in_words(lesson)
    assert not any(line in text for line in left_out)
    assert len(lesson.hints) + bool(left_out) == 3
    answers = set(source.solution(lesson).splitlines()) - set(text.splitlines())
    assert len(answers) >= 1 + len(left_out)


def test_lessons_repeat_no_line_of_the_package():
    package = {
        line.strip()
        for path in (ROOT / "tinyddpm").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if len(line.strip()) > 40 and not line.strip().startswith(("import", "from", "def"))
    }
    for path in (ROOT / "examples/learning").rglob("*.py"):
        lines = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
        assert not lines & package, path


@each_lesson
def test_every_known_mistake_has_a_place_in_the_project_s_code(lesson):
    for mistake in lesson.mistakes:
        assert edited(source.solution(lesson), [mistake]), mistake


@pytest.mark.slow
@each_lesson
def test_every_known_mistake_gets_its_own_hint(lesson, tmp_path):
    for mistake in lesson.mistakes:
        solved, lines = answer(lesson, edited(source.solution(lesson), [mistake]), tmp_path)
        assert not solved and any(mistake.hint in line for line in lines), mistake
        named = "note" if mistake.convention else "hint"
        assert any(line.startswith(f"  {named}") for line in lines)


# What people write (lesson, in place of, this), and what the answer must say.
PLANTED = [
    ("linear", "rows(x).T @ rows(dy)", "sum(np.outer(a, b) for a, b in zip(rows(x), rows(dy))) / 3",
     "dW is divided by the batch"),
    ("linear", "rows(dy).sum(axis=0)", "rows(dy)", r"db \(5,\), rows\(dy\) \(21, 5\)"),
    ("linear", "rows(dy).sum(axis=0)", "rows(dy)", "db lacks the sum over the rows"),
    ("linear", ".T  # rule 4", "", "these fit: .*dy @ self.W.of"),
    ("linear", "dW += rows", "dW[...] = rows", "= in place of [+]="),
    ("linear", "dW += rows", "dW = rows", "given to a new array"),
    ("linear", "db += rows", "db -= rows", "wrong sign"),
    ("linear", "return dy @", "dy *= 1\n        return dy @", "never write into them"),
    ("linear", "x = tape.pop(self)", "x = tape._stack[-1][1]", "on the tape than backward has"),
    ("silu", "dy * (s + x * s * (1 - s))", "dy * x * (1 - x)", "takes the input for the output"),
    ("silu", "s + x * s * (1 - s)", "s", "half of the product rule"),
    ("silu", "s + x * s * (1 - s)", "x * s * (1 - s) + x * s", "two right forms are mixed"),
    ("silu", "s + x * s * (1 - s)", "s - x * s * (1 - s)", "wrong sign|opposite order"),
    ("dropout", "self._masked(dy, mask)", "dy if mask is None else np.where(mask, dy, 0)",
     "division by 1 - rate is missing"),
    ("dropout", "self._masked(dy, mask)", "dy", "the mask is missing"),
    ("dropout", "self._masked(dy, mask)", "dy * mask * (1 - self.rate)", "multiplied by 1 - rate"),
    ("dropout", "        mask = tape.pop(self)\n", "        tape.pop(self)\n        mask = "
     "tape.rng.random(dy.shape, dtype='float32') >= self.rate\n", "the mask is a new one"),
    ("embedding", "dtable += one_hot.astype(dy.dtype) @ dy", "dtable[label] += dy", "np.add.at"),
    ("embedding", "dtable += one_hot.astype(dy.dtype) @ dy", "dtable[label] = dy", "assigned"),
    ("embedding", "one_hot.astype(dy.dtype) @ dy", "one_hot[:-1].astype(dy.dtype) @ dy",
     r"dtable \(5, 3\)"),
    ("upsample", "sum(axis=(2, 4))", "mean(axis=(2, 4))", "mean of the four copies"),
    ("upsample", "dy.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))", "dy[:, ::2, ::2]",
     "one of the four copies"),
    ("concat", "dy[..., :c].copy(), dy[..., c:]", "dy[..., c:], dy[..., :c]", "swapped"),
    ("concat", "c = tape.pop(self)", "c = tape.pop(self) * 0 + dy.shape[-1] // 2", "in the middle"),
    ("addtopixels", "sum(axis=(1, 2))", "mean(axis=(1, 2))", "a mean over the pixels"),
    ("groupnorm", " - self._mean(g) - x_hat * self._mean(g * x_hat)", "", "taken for constants"),
    ("groupnorm", "- self._mean(g)", "", "way through the mean is lost"),
    ("groupnorm", "- x_hat * self._mean(g * x_hat)", "", "way through the variance is lost"),
    ("groupnorm", "self.gain.of(tape.theta) * dy", "dy", "gain is missing in dx"),
    ("groupnorm", "self.gain.of(tape.theta) * dy", "dy", "right with gain 1"),
    ("groupnorm", "self._mean(g * x_hat)", "40 * self._mean(g * x_hat)", "but M, the numbers"),
    ("groupnorm", "dx = r * (", "dx = (", "factor r"),
    ("groupnorm", "- self._mean(g) - x_hat", "+ self._mean(g) - x_hat", "wrong sign"),
    ("conv3x3", "for w in W)", "for w in np.flip(W, (0, 1)))", "turned once too often"),
    ("conv3x3", "dw += (row.T @ dy)", "dw[::-1] += (row.T @ dy)", "opposite order|reversed"),
    ("conv3x3", "triples[:, i : i + h : stride] += ", "triples[:, i : i + h : stride] = ",
     "overlapping patches are assigned"),
    ("conv3x3", "+ h, before : before + w]\n", "+ h + 1, before : before + w]\n", "rule 1"),
    ("attention", "(dA - (A * dA).sum(axis=-1, keepdims=True))", "(dA - A * dA)",
     "element by element"),
    ("attention", "(dA - (A * dA).sum(axis=-1, keepdims=True))", "dA", "sum over the row is miss"),
    ("attention", "dscore @ k * q.shape[-1] ** -0.5", "dscore @ k", "1/√d is missing in dq"),
    ("attention", "dv = _transposed(A)", "dv = A", "dv lacks the transpose"),
    ("attention", "(A * dA).sum(axis=-1, keepdims=True)", "(A * dA).sum(axis=-1)", "keepdims=True"),
    ("resblock", "dx += dx_skip", "pass", "past both convolutions is lost"),
    ("resblock", "dx += dx_skip", "dx = 0.5 * (dh + dx_skip)", "averaged"),
    ("resblock", "dx = dh\n        dx += dx_skip", "dx = dx_skip\n        dx += dh",
     "written into dy|never write"),
    ("resblock", "dh, dshift = self.add.backward(dh, tape)", "dshift = dh[:, 0, 0]",
     "demb comes from one pixel"),
    ("simple_loss", "* 2 / x0[0].size", "/ x0[0].size", "the 2 of the square"),
    ("simple_loss", "/ x0[0].size", "", "division by the numbers of an image"),
    ("simple_loss", "/ x0[0].size", "/ x0.size", "divided by the batch twice"),
    ("adam", "**self.step", "", "lack the power of the step"),
    ("adam", " / (1 - self.decay2**self.step)", "", "v's bias correction"),
    ("adam", "self.step += 1\n", "pass\n", "counted"),
    ("adam", "(v_hat**0.5 + self.tiny)", "(v_hat + self.tiny) ** 0.5", "right in some programs"),
    ("adam", "        self.step += 1\n        for chunk in cache_chunks(theta)[share]:\n",
     "        for chunk in cache_chunks(theta)[share]:\n            self.step += 1\n",
     "each part of"),
    ("q_sample", "(1 - schedule.alpha_bar) ** 0.5", "(1 - schedule.alpha_bar)", "root of 1 - ᾱ_t"),
    ("q_sample", "schedule.alpha_bar", "schedule.alpha", "α_t stands for ᾱ_t"),
    ("q_sample", "extract(a, t, like), extract(b, t, like)",
     "extract(a, t - 1, like), extract(b, t - 1, like)", "read at t - 1"),
    ("posterior", "return x0_coef * x0 + x_t_coef * x_t", "return x0_coef * x_t + x_t_coef * x0",
     "swapped"),
    ("ancestral", "if t > 1:", "if t >= 1:", "noise is added at the last step"),
    ("ancestral", "schedule) / 2)", "schedule))", "multiplied by its variance"),
    ("ddim", "alpha_bar[t - 1]", "alpha_bar[t]", "ᾱ_t stands for ᾱ_{t-1}"),
    ("ddim", "- sigma**2", "", "σ² is not subtracted"),
    ("ddim", "sigma = eta * math.sqrt", "sigma = bool(eta) * math.sqrt", "β̃_t for every eta"),
    ("ddim", "yield Step(t - 1, x, x0_hat)",
     "while True:\n            pass\n        yield Step(t - 1, x, x0_hat)", "does not end"),
    ("guided", "(1 + weight) *", "weight *", "counts w times"),
    ("guided", "- weight * both", "+ weight * both", "is added"),
    ("guided", "both[:n, ..., channels:], axis", "both[n:, ..., channels:], axis", "null label's"),
]  # fmt: skip


@pytest.mark.parametrize("name, old, new, says", PLANTED)
def test_a_planted_mistake_is_named(name, old, new, says, tmp_path):
    text = source.solution(BY_NAME[name])
    assert old in text
    text = "import numpy as np\n" + text.replace(old, new)
    solved, lines = answer(BY_NAME[name], text, tmp_path)
    assert not solved and re.search(says, "\n".join(lines)), "\n".join(lines)


def test_conventions_are_no_mistakes_but_not_solved(tmp_path):
    """s = 1 + w: w is taken for the scale that other programs have."""
    text = source.solution(BY_NAME["guided"]).replace("(1 + weight)", "weight")
    text = text.replace("- weight * both", "+ (1 - weight) * both")
    solved, lines = answer(BY_NAME["guided"], text, tmp_path)
    assert not solved
    assert any(line.startswith("  note    the weight is taken for the scale") for line in lines)


def test_what_is_right_is_said_first(tmp_path):
    text = source.solution(BY_NAME["groupnorm"]).replace("dx = r * (", "dx = (")
    _, lines = answer(BY_NAME["groupnorm"], text, tmp_path)
    assert lines[0] == "  right   y, dgain, dbias"
    assert re.match(r"  wrong   dx: off by \S+ of its size; most at \[.*\]: ", lines[1])


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run learn.py in an empty folder; gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["learn.py", *words])
        try:
            code = learn.main()
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().out

    return run


def test_the_way_through_a_lesson(command, tmp_path):
    assert "0 of 18 solved" in command()[1]
    command("Linear")
    path = tmp_path / "lessons/linear.py"
    assert "return" in command("check", "linear")[1] or "still empty" in command("check")[1]
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    assert "stays as it is" in command("linear")[1] and path.read_text("utf-8").endswith("# mine\n")
    hints = [command("linear", "--hint")[1] for _ in range(4)]
    assert [text[:18] for text in hints[:3]] == [f"linear, hint {i} of 3"[:18] for i in (1, 2, 3)]
    assert len(set(hints)) == 3 and "dx = dy Wᵀ" in hints[2]
    shown = command("linear", "--solution")[1]
    assert "tinyddpm/nn/linear.py" in shown and "dW += rows(x).T @ rows(dy)" in shown
    path.write_text(source.solution(BY_NAME["linear"]), encoding="utf-8")
    assert command("check") == (0, "linear: solved\n  right   y, dx, dW, db\n")
    assert re.search("1  linear +solved", command()[1])


def test_words_that_are_no_lesson_get_a_sentence(command):
    assert command("linaer")[0] == "error: no lesson is called linaer; the nearest is linear"
    assert "no lessons/silu.py yet" in command("check", "silu")[0].replace("\\", "/")
    assert "nothing is solved yet" in command("train")[0]


def test_networks_train_with_the_reader_s_own_code(tmp_path):
    """Every solved lesson is used: all of them leave a mark when they are called."""
    folder = tmp_path / "lessons"
    folder.mkdir()
    for lesson in LESSONS:
        text = source.solution(lesson)
        hole = source.find(source.ast.parse(text), lesson.hole)
        first = hole.body[bool(source.ast.get_docstring(hole))].lineno - 1
        lines = text.splitlines()
        indent = " " * (hole.col_offset + 4)
        lines.insert(first, f"{indent}open('lessons/{lesson.name}.used', 'w').close()")
        (folder / f"{lesson.name}.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    script = (
        "from pathlib import Path; from learning.course import LESSONS; from learning import play; "
        "play.grid.STEPS, play.GRIDS, play.DIGITS, play.STEPS = 2, 2, 9, 1; "
        "play.EACH, play.WALK = 1, 2; "
        "play.train(LESSONS, Path('lessons'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT / 'examples'}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    unused = {x.name for x in LESSONS if not (folder / f"{x.name}.used").exists()}
    assert not unused
    assert (folder / "grid.png").exists() and (folder / "digits.png").exists()
    assert np.array(done.stdout.count("yours: Linear, SiLU")) == 1
