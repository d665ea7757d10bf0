"""The training loop learns, resumes bit for bit, stops when asked, and leaves what it promises."""

import csv
import io
import json
import os
import shutil
import signal
import sys
import time
import tracemalloc
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from tinyddpm import (
    Dataset,
    LossSecondMomentResampler,
    Run,
    SamplingConfig,
    Step,
    Tape,
    TrainConfig,
    UNetConfig,
    WorkerDied,
    learning_rate,
    load_checkpoint,
    load_trained,
    save_checkpoint,
    train,
    update_ema,
    x0_and_eps,
)
from tinyddpm.pictures import gallery
from tinyddpm.training.denoiser import Denoiser
from tinyddpm.training.kept import BEFORE
from tinyddpm.training.log import Log
from tinyddpm.workers import Workers

loop = import_module("tinyddpm.training.loop")  # `tinyddpm.train` is the function of the same name

UNET = UNetConfig(
    image_size=8, base=4, multipliers=(1, 2), attention_at=(), groups=2, dropout=0.1, classes=3
)
CONFIG = TrainConfig(
    steps=11, batch=6, micro_batch=2, lr=3e-3, warmup=2, lr_end=0.1, T=50, every=4,
    ema_decay=0.9,
)  # fmt: skip
SAMPLING = SamplingConfig(steps=4, guidance=0.5)


@pytest.fixture(autouse=True, scope="module")
def few_sampling_steps():
    """Pictures in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "SAMPLING", SAMPLING)
        yield


def stripes(n=20):
    """Images that are dark, light or half of each, by label."""
    labels = np.arange(n) % 3
    images = np.zeros((n, 8, 8, 1), np.uint8)
    images[labels == 1] = 255
    images[labels == 2, 4:] = 255
    return Dataset("stripes", images, labels)


def start(folder, **changes):
    return Run.start(UNET, replace(CONFIG, **changes), stripes(), folder)


def resume(folder, **changes):
    return Run.resume(folder, lambda name: stripes(), **changes)


def content(folder):
    """Every file of a run, but for the last checkpoint but one: {name: bytes}."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != BEFORE]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = start(tmp_path_factory.mktemp("runs") / "run")
    train(run)
    return run


def test_a_run_leaves_the_files_it_promises(finished):
    assert (finished.folder / BEFORE).exists()
    assert sorted(content(finished.folder)) == [
        "checkpoint.safetensors", "config.json", "index.html",
        "log.csv",
        "samples/stripes-000004.png", "samples/stripes-000008.png", "samples/stripes-final.png",
        "stripes-denoising.gif", "stripes-denoising.png", "stripes-forward.png", "stripes-loss.png",
        "stripes-spectrum.png",
    ]  # fmt: skip
    rows = list(csv.DictReader((finished.folder / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 12))
    assert all(float(row["loss"]) > 0 and float(row["gradient"]) > 0 for row in rows)
    assert float(rows[0]["lr"]) == pytest.approx(1.5e-3)
    settings = json.loads((finished.folder / "config.json").read_text())
    assert settings["data"] == "stripes" and settings["train"]["steps"] == 11
    assert UNetConfig(**settings["unet"]) == UNET
    for name in content(finished.folder):
        if name.endswith(("png", "gif")):
            with Image.open(finished.folder / name) as picture:
                picture.verify()
    with Image.open(finished.folder / "stripes-denoising.gif") as gif:
        assert gif.n_frames == 1 + SAMPLING.steps


def press_ctrl_c(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def stop_at(monkeypatch, n, number=signal.SIGINT):
    """Press Ctrl-C, or send another signal, in a run's n-th step."""
    advance = loop.advance

    def stopping(run, workers):
        loss = advance(run, workers)
        if run.step == n:
            press_ctrl_c(number)
        return loss

    monkeypatch.setattr(loop, "advance", stopping)


@pytest.mark.parametrize("n", range(1, 12))
def test_a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bytes(
    finished, tmp_path, monkeypatch, n, capfd
):
    with monkeypatch.context() as patch:
        stop_at(patch, n)
        with pytest.raises(KeyboardInterrupt):
            train(start(tmp_path / "run"))
    assert "finishing this step" in capfd.readouterr().err
    assert load_checkpoint(tmp_path / "run/checkpoint.safetensors").meta["step"] == n
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(resume(tmp_path / "run"))
    assert content(tmp_path / "run") == content(finished.folder)


def test_a_run_that_lost_what_came_after_its_checkpoint_ends_with_the_same_bytes(
    finished, tmp_path, monkeypatch
):
    """As after kill -9 or a power cut: the log is ahead of the checkpoint, a picture is missing."""
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(start(tmp_path / "run"))
    shutil.copy(finished.folder / "log.csv", tmp_path / "run/log.csv")
    (tmp_path / "run/samples/stripes-000004.png").unlink(missing_ok=True)
    train(resume(tmp_path / "run"))
    assert content(tmp_path / "run") == content(finished.folder)


@pytest.mark.parametrize("call, step", [(2, 4), (6, 8), (11, 11)])  # two previews and the end
def test_a_run_stopped_while_it_draws_ends_with_the_same_bytes(
    finished, tmp_path, monkeypatch, call, step
):
    make, calls = gallery._eps_model, []

    def stopping(run, workers):
        predict = make(run, workers)

        def counting(x_t, t, label):
            calls.append(t)
            if len(calls) == call:
                press_ctrl_c()
            return predict(x_t, t, label)

        return counting

    with monkeypatch.context() as patch:
        patch.setattr(gallery, "_eps_model", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(start(tmp_path / "run"))
    assert len(calls) == call
    assert load_checkpoint(tmp_path / "run/checkpoint.safetensors").meta["step"] == step
    train(resume(tmp_path / "run"))
    assert content(tmp_path / "run") == content(finished.folder)


def test_a_worker_that_dies_in_an_update_costs_the_steps_since_the_checkpoint(
    tmp_path, monkeypatch
):
    """The weights may be half changed then: nothing of them is saved."""
    changes = {"workers": 2, "optimizer": "muon"}
    train(whole := start(tmp_path / "whole", **changes))
    run, crew = start(tmp_path / "run", **changes), []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Workers", lambda *given: crew.append(Workers(*given)) or crew[0])

        def dying(step, *settings):
            if step == 6:
                crew[0].workers[1].process.kill()
            return learning_rate(step, *settings)

        patch.setattr(loop, "learning_rate", dying)
        with pytest.raises(WorkerDied, match="worker 1 died"):
            train(run)
    again = resume(tmp_path / "run")
    assert again.step == 4
    train(again)
    for one, other in zip(again.vectors, whole.vectors):
        assert np.array_equal(one, other)


def test_stopped_with_two_workers_and_resumed_ends_with_the_same_bytes(tmp_path, monkeypatch):
    train(start(tmp_path / "whole", workers=2))
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(start(tmp_path / "run", workers=2))
    train(resume(tmp_path / "run"))
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def life(folder, slowly):
    """A process that goes on with the run in a folder; its number."""
    if number := os.fork():
        return number
    try:
        if slowly:  # then most of the time it is saving
            os.fsync = lambda handle: time.sleep(0.02)
        train(resume(folder))
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts processes in other ways")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path, kills):
    """A new one is begun when one is done; each ends as one does that nobody disturbs."""
    folder, changes = tmp_path / "run", {"steps": 12, "every": 2}
    train(start(tmp_path / "whole", **changes))
    whole, random, killed = content(tmp_path / "whole"), np.random.default_rng(kills), 0
    while killed < kills:
        start(folder, **changes)
        while killed < kills and resume(folder).step < 12:
            number = life(folder, slowly=killed % 2)
            time.sleep(random.uniform(0, 0.3))
            os.kill(number, signal.SIGKILL)
            killed += os.waitpid(number, 0)[1] == signal.SIGKILL
        train(resume(folder))
        assert content(folder) == whole
        shutil.rmtree(folder)


def test_the_loss_that_is_shown_is_a_slow_average(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(loop.Progress, "show", lambda self, done, note="": notes.append(note))
    train(run := start(tmp_path / "run", steps=3, every=100))
    first, second, third = run.log.losses
    two = 0.98 * first + 0.02 * second
    wanted = [first, two, 0.98 * two + 0.02 * third]
    shown = [float(note.split()[1]) for note in notes if "loss" in note]
    assert shown == pytest.approx(wanted, abs=1e-4)


def test_the_time_that_a_run_takes_is_tried_with_a_part_for_each_worker(tmp_path, monkeypatch):
    """The second time counts; there are three parts of two images, and two workers."""
    tried = []
    monkeypatch.setattr(
        loop, "time", SimpleNamespace(perf_counter=lambda: sum([0, 100, 3][: len(tried) + 1]))
    )

    class Spy(Workers):
        def gradient(self, theta, tasks):
            tried.append([len(task[2]) for task in tasks])
            return [], np.ones(1)

    run = start(tmp_path / "run")
    with Spy(None, run.theta) as workers:
        workers.count = 2
        assert loop._seconds_per_step(run, workers) == 3 / 2 * 3
    assert tried == [[2, 2], [2, 2]]


def test_a_run_says_how_long_it_will_take(tmp_path, monkeypatch, capsys):
    run, paces = start(tmp_path / "run", steps=3), []
    monkeypatch.setattr(loop, "_seconds_per_step", lambda run, workers: 600.0)
    monkeypatch.setattr(
        loop, "Page", lambda run, step_s: paces.append(step_s) or Mock(step_s=step_s)
    )
    train(run)
    assert "At today's speed that takes about 30 minutes." in capsys.readouterr().out
    assert paces == [600]
    train(run)
    assert "speed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_save_like_ctrl_c(tmp_path, monkeypatch, name, hangup):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    stop_at(monkeypatch, 3, number)
    with pytest.raises(KeyboardInterrupt) as stop:
        train(start(tmp_path / "run", every=100))
    assert stop.value.args == (number,) and resume(tmp_path / "run").step == 3
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_at(monkeypatch, 2, signal.SIGHUP)
        train(start(tmp_path / "run", steps=3))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert resume(tmp_path / "run").step == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_gone_bad_is_named_and_the_last_good_checkpoint_stays(
    tmp_path, monkeypatch, bad
):
    gradient = Denoiser.gradient

    def going_bad(self, theta, grad, step, *task):
        losses = gradient(self, theta, grad, step, *task)
        if step == 5:
            self.unet.layout.params[7].of(grad)[..., 0] += np.float32(bad)
        return losses

    run = start(tmp_path / "run", every=4)
    monkeypatch.setattr(Denoiser, "gradient", going_bad)
    name = run.unet.layout.params[7].name
    with pytest.raises(FloatingPointError, match=f"step 6: the loss .*largest in {name}, .* rate "):
        train(run)
    assert run.step == 5 and np.isfinite(run.theta).all()
    assert run.saved_step == resume(tmp_path / "run").step == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_workers_change_nothing_if_the_gradient_has_gone_bad(tmp_path):
    run = start(tmp_path / "run", workers=2)
    param = run.unet.layout.params[-2]
    param.of(run.theta)[...] = 1e38
    before = [vector.copy() for vector in run.vectors]
    with pytest.raises(FloatingPointError, match="step 1: the loss is inf.*, the largest in "):
        train(run)
    assert run.step == 0 and all(map(np.array_equal, run.vectors, before))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_weights_that_move_to_the_workers_are_held_once(tmp_path):
    def held():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    run, before = start(tmp_path / "run"), held()
    run.vectors = [np.ones(10_000_000, np.float32) for _ in range(4)]
    assert held() - before > 150e6
    run.vectors = [vector[:10].copy() for vector in run.vectors]
    assert held() - before < 10e6


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_three_workers_take_the_steps_of_one(tmp_path, optimizer):
    """Of the same gradient: each does its share of the update, and no part is done twice."""
    runs = [start(tmp_path / "run", optimizer=optimizer) for _ in range(2)]
    gradients = np.random.default_rng(0).standard_normal((3, runs[0].theta.size), np.float32)
    for run, count in zip(runs, (1, 3)):
        job = Denoiser(run.unet, run.schedule, run.config)
        with Workers(job, run.theta, count, run.vectors[1:]) as workers:
            run.vectors = workers.vectors
            for grad in gradients:
                workers.rows[0][:] = grad
                workers.update(run.optimizer.update, run.theta, workers.rows[0], 0.1)
                workers.update(update_ema, run.ema, run.theta, run.step, 0.9)
        assert run.step == 3
    for one, other in zip(*(run.vectors for run in runs)):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6)
        assert optimizer == "muon" or np.array_equal(one, other)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_can_say_which_layer_made_the_first_bad_number(tmp_path, workers):
    run = start(tmp_path / "run", workers=workers)
    param = next(param for param in run.unet.layout.params if "down1" in param.name)
    run.theta[param.span] = np.nan
    sentence = f"step 1: the first number that is not finite is in {param.name}, which comes into"
    with pytest.raises(FloatingPointError, match=sentence):
        train(run, detect_nan=True)


def test_looking_for_bad_numbers_changes_no_bit(finished, tmp_path):
    train(run := start(tmp_path / "run", every=100), detect_nan=True)
    assert np.array_equal(run.theta, finished.theta)


def test_a_second_interrupt_stops_at_once(tmp_path, monkeypatch):
    def advance(run, workers):
        press_ctrl_c()
        press_ctrl_c()
        raise AssertionError("went on")

    monkeypatch.setattr(loop, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        train(start(tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run/checkpoint.safetensors").meta["step"] == 0


def test_two_workers_give_the_same_bytes_each_time_and_the_numbers_of_one(finished, tmp_path):
    runs = [start(tmp_path / name, workers=2) for name in "ab"]
    for run in runs:
        train(run)
    assert np.array_equal(runs[0].theta, runs[1].theta)
    assert (runs[0].folder / "log.csv").read_bytes() == (runs[1].folder / "log.csv").read_bytes()
    assert np.allclose(runs[0].theta, finished.theta, atol=1e-4)


def test_a_log_that_cannot_be_replaced_does_not_cost_the_checkpoint(tmp_path):
    """As where Windows lets a spreadsheet keep log.csv for itself."""
    run = start(tmp_path / "run")
    (run.folder / "log.csv").unlink()
    (run.folder / "log.csv/mine").mkdir(parents=True)
    with pytest.raises(OSError, match="log.csv"):
        train(run)
    assert (
        load_checkpoint(run.folder / "checkpoint.safetensors").meta["step"] == run.saved_step == 4
    )


def test_what_is_saved_does_not_depend_on_what_can_be_printed(tmp_path, monkeypatch):
    run, broken = start(tmp_path / "run", steps=4), io.StringIO()
    broken.write = broken.flush = Mock(side_effect=BrokenPipeError(32, "Broken pipe"))
    broken.isatty = lambda: True  # then it is drawn on from the first step on
    monkeypatch.setattr(sys, "stderr", broken)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    train(run)
    assert broken.write.called and run.saved_step == 4


def test_drawing_pictures_does_not_change_the_training(finished, tmp_path):
    run = start(tmp_path / "run", every=100)
    train(run)
    assert np.array_equal(run.theta, finished.theta) and np.array_equal(run.ema, finished.ema)


def test_settings_of_published_networks_are_trained_too(tmp_path):
    config = replace(
        UNET, attention_at=(4,), attention_up_at=(8,), head_channels=2, downsample_padding=1,
        freq_shift=0, tiny=1e-5,
    )  # fmt: skip
    train(run := Run.start(config, replace(CONFIG, steps=2), stripes(), tmp_path / "run"))
    assert load_trained(run.folder).unet.config == config
    with pytest.raises(ValueError, match=r"stripes has images of shape .*, but the U-Net is for "):
        Run.check(replace(config, joined=2), CONFIG, stripes())


def test_a_checkpoint_from_before_these_settings_means_what_it_meant(finished, tmp_path):
    arrays, meta = load_checkpoint(finished.folder / "checkpoint.safetensors")
    new = ("attention_up_at", "downsample_padding", "freq_shift", "head_channels", "joined", "tiny")
    for name in new:
        del meta["unet"][name]
    save_checkpoint(tmp_path / "checkpoint.safetensors", arrays, meta)
    assert load_trained(tmp_path).unet.config == UNET
    assert (UNET.downsample_padding, UNET.freq_shift, UNET.tiny) == (0, 1, 1e-6)


def test_who_never_learned_from_labels_knows_none(finished, tmp_path):
    """In checkpoints from before the labels were listed, the settings say it."""
    arrays, meta = load_checkpoint(finished.folder / "checkpoint.safetensors")
    del meta["learned_labels"]
    for label_drop, labels in ((0.9, (0, 1, 2)), (1.0, ())):
        meta["train"]["label_drop"] = label_drop
        save_checkpoint(tmp_path / "checkpoint.safetensors", arrays, meta)
        assert load_trained(tmp_path).labels == labels


def test_settings_are_the_papers_unless_told():
    """Ho et al. 2020, appendix B, for CIFAR-10."""
    config = TrainConfig()
    assert (config.steps, config.batch, config.lr, config.warmup) == (800_000, 128, 2e-4, 5000)
    assert (config.lr_end, config.clip, config.ema_decay, config.T) == (1, 1, 0.9999, 1000)
    assert (config.schedule, config.predicts, config.loss) == ("linear", "eps", "simple")


def test_of_a_log_the_steps_after_the_checkpoint_are_forgotten(tmp_path):
    log, rows = Log(), [f"{step},0.5,1,0.1" for step in range(1, 5)]
    log.read(tmp_path / "log.csv", 3)
    assert log.rows == []
    (tmp_path / "log.csv").write_text("\n".join(["step,loss,gradient,lr", *rows, ""]))
    log.read(tmp_path / "log.csv", 3)
    assert log.rows == rows[:3]


def test_the_seed_changes_the_run(finished, tmp_path):
    run = start(tmp_path / "run", seed=1)
    train(run)
    assert not np.allclose(run.theta, finished.theta, atol=1e-3)


def gradient(run, theta, weight=1.0):
    """The loss and its gradient that the run's next step finds for these weights."""
    t, n = np.arange(1, CONFIG.batch + 1), CONFIG.batch
    with Workers(Denoiser(run.unet, run.schedule, run.config), run.theta) as workers:
        parts = loop._micro_batches(run, workers, t, np.full(n, weight / n))
        losses, grad = workers.gradient(theta, parts)
    assert [len(part) for part in losses] == [2, 2, 2]
    return weight * np.concatenate(losses).mean(), grad


def test_the_loss_is_the_mean_over_the_batch_and_the_gradient_is_its_slope(tmp_path):
    """However the batch is cut: one micro-batch of all gives what its parts' shares add up to."""
    run = start(tmp_path / "run")
    loss, grad = gradient(run, run.theta)
    more, _ = gradient(run, run.theta + 1e-2 * grad / np.linalg.norm(grad))
    assert 0.7 < loss < 1.3
    assert (more - loss) / 1e-2 == pytest.approx(np.linalg.norm(grad), rel=0.05)
    assert np.allclose(gradient(run, run.theta, weight=3.0)[1], 3 * grad, rtol=1e-4, atol=1e-6)


def test_peak_memory_does_not_grow_with_the_batch(tmp_path):
    """Beyond the images and their noise: 8 parts take no more than 2 do."""
    run, peaks = start(tmp_path / "run"), []
    part = (0, 0, np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, int), np.full(4, 9), np.ones(4))
    with Workers(Denoiser(run.unet, run.schedule, run.config), run.theta) as workers:
        workers.gradient(run.theta, [part])
        for count in (2, 8):
            tracemalloc.start()
            workers.gradient(run.theta, [part] * count)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_images_are_mirrored_at_the_rate_asked_for(tmp_path):
    """All of them: then the gradient is that of mirrored images, which hardly ever are."""
    x0 = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    facts, grads = (np.zeros(4, int), np.full(4, 9), np.ones(4)), []
    for flips, images in ((1.0, x0), (1e-300, x0[:, :, ::-1]), (1e-300, x0), (0.5, x0)):
        run = start(tmp_path / "run", flips=flips)
        grads.append(np.zeros_like(run.theta))
        denoiser = Denoiser(run.unet, run.schedule, run.config)
        denoiser.gradient(run.theta, grads[-1], 0, 0, images, *facts)
    assert np.array_equal(grads[0], grads[1])
    assert not any(np.allclose(grads[i], grads[j], atol=1e-4) for i, j in ((0, 2), (0, 3), (2, 3)))


def test_rows_have_the_names_of_their_labels(finished, tmp_path):
    """At the left of the samples, and in the checkpoint; without labels there is no row to name."""
    data = stripes()._replace(label_names=("dark", "light", "half"))
    widths = []
    for unet in (UNET, replace(UNET, classes=0)):
        run = Run.start(unet, replace(CONFIG, steps=1), data, tmp_path / "run")
        train(run)
        with Image.open(run.folder / "samples/stripes-final.png") as picture:
            widths.append(picture.width)
        wanted = ("dark", "light", "half") if unet.classes else ()
        assert load_trained(run.folder).label_names == wanted
    with Image.open(finished.folder / "samples/stripes-final.png") as picture:
        assert widths[0] > picture.width + 30 and widths[1] == picture.width


def test_labels_are_dropped_at_the_rate_asked_for(tmp_path):
    run = start(tmp_path / "run", label_drop=1.0)
    _, grad = gradient(run, run.theta)
    table = next(p for p in run.unet.layout.params if p.name.endswith("table")).of(grad)
    assert not table[:3].any() and table[3].any()


@pytest.mark.parametrize(
    "schedule, predicts, loss, times, optimizer",
    [("cosine", "v", "hybrid", "middle", "muon"), ("linear", "x0", "vlb", "uniform", "adam")],
)
def test_every_kind_of_training_resumes_with_the_same_bytes(
    tmp_path, monkeypatch, schedule, predicts, loss, times, optimizer
):
    """With so few times that importance sampling has begun before the run is stopped."""
    unet = replace(UNET, outputs=2)
    kind = {"schedule": schedule, "predicts": predicts, "loss": loss, "times": times}
    config = replace(CONFIG, **kind, optimizer=optimizer, T=25, steps=60, batch=12, every=50)
    for name in "ab":
        Run.start(unet, config, stripes(), tmp_path / name)
    train(resume(tmp_path / "a"))
    with monkeypatch.context() as patch:
        stop_at(patch, 53)
        with pytest.raises(KeyboardInterrupt):
            train(resume(tmp_path / "b"))
    run = resume(tmp_path / "b")
    even = np.full(25, 1 / 25)
    assert np.array_equal(run.history.probabilities(), even) == (loss == "hybrid")
    train(run)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_the_bound_is_trained_with_the_weights_of_importance_sampling(tmp_path):
    config = replace(CONFIG, loss="vlb", batch=4, micro_batch=2)
    run = Run.start(replace(UNET, outputs=2), config, stripes(), tmp_path / "run")
    run.history.losses[:] = np.arange(1, 51)[:, None]
    seen = []

    class Spy(Workers):
        def gradient(self, theta, parts):
            seen.extend(parts)
            return [np.array([10.0, 20.0]), np.array([30.0, 40.0])], np.ones_like(theta)

    with Spy(None, run.theta) as workers:
        loop.advance(run, workers)
    (loss,) = run.log.fetch()
    t, weight = (np.concatenate([part[k] for part in seen]) for k in (4, 5))
    p = LossSecondMomentResampler(50).probabilities()  # even; the run's are not:
    p = 0.999 * np.arange(1, 51) / 1275 + 0.001 * p
    assert np.allclose(weight, 1 / (50 * p[t - 1]) / 4)
    assert loss == pytest.approx(np.sum(weight * [10, 20, 30, 40]))
    assert set(run.history.losses[t - 1, -1]) <= {10, 20, 30, 40}  # a time may come twice


def test_pictures_are_guided_away_from_the_null_label(tmp_path, monkeypatch):
    run, asked = start(tmp_path / "run", steps=1), []
    make = gallery._eps_model

    def spying(run, workers):
        return lambda x_t, t, label: (asked.append(label), make(run, workers)(x_t, t, label))[1]

    monkeypatch.setattr(gallery, "_eps_model", spying)
    train(run)
    labels = [0] * 5 + [1] * 5 + [2] * 5
    assert asked[0].tolist() == labels  # while there is little but noise
    assert labels + [3] * 15 in [label.tolist() for label in asked]
    asked.clear()
    train(start(tmp_path / "no null", steps=1, label_drop=0.0))
    assert all(len(label) <= 15 for label in asked)


def test_the_last_samples_are_those_of_the_last_step(tmp_path, monkeypatch):
    black, white = (np.full((15, 8, 8, 1), value, np.float32) for value in (-1, 1))
    steps, saved = [Step(t, white if t == 0 else black, black) for t in (3, 2, 1, 0)], {}
    monkeypatch.setattr(gallery, "_sampling", lambda *arguments: iter(steps))
    monkeypatch.setattr(
        gallery, "save_picture", lambda picture, path: saved.update({path.name: picture})
    )
    for name in ("_forward_process", "_spectrum", "save_gif"):
        monkeypatch.setattr(gallery, name, lambda *arguments: None)
    gallery.draw_final(start(tmp_path / "run"), None, None)
    colours = {colour for _, colour in saved["stripes-final.png"].getcolors()}
    assert 255 in colours and 0 not in colours
    assert saved["stripes-denoising.png"].getcolors(1 << 20)


@pytest.mark.parametrize("T, times", [(50, [5, 10, 19, 28, 38]), (20, [2, 4, 8, 11, 15])])
def test_the_picture_of_the_forward_process_goes_through_all_of_it(tmp_path, monkeypatch, T, times):
    run, q_sample = start(tmp_path / "run", T=T, schedule="cosine"), Mock(wraps=gallery.q_sample)
    monkeypatch.setattr(gallery, "q_sample", q_sample)
    with Workers(Denoiser(run.unet, run.schedule, run.config), run.theta) as workers:
        gallery._forward_process(run, workers)
    assert [call.args[1].tolist() for call in q_sample.call_args_list] == [times] * 3


def test_a_loss_that_learns_variances_wants_a_network_that_has_them(tmp_path):
    for unet, loss in ((UNET, "vlb"), (replace(UNET, outputs=2), "simple")):
        with pytest.raises(ValueError, match=f"loss '{loss}' of a U-Net with outputs="):
            Run.start(unet, replace(CONFIG, loss=loss), stripes(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trained_model_is_what_the_run_averaged_wherever_its_checkpoint_is(finished, tmp_path):
    shutil.copy(finished.folder / "checkpoint.safetensors", tmp_path / "mine.safetensors")
    for place in (finished.folder, tmp_path / "mine.safetensors"):
        trained = load_trained(place)
        assert np.array_equal(trained.theta, finished.ema) and trained.step == 11
        assert trained.unet.config == UNET and trained.config == finished.config
        assert trained.data == "stripes" and trained.schedule.T == 50
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match="name the folder of a run"):
            load_trained(place)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_a_model_says_eps_whatever_its_network_predicts(tmp_path, predicts, rng):
    config = replace(CONFIG, predicts=predicts, loss="hybrid")
    run = Run.start(replace(UNET, outputs=2), config, stripes(), tmp_path / "run")
    run.ema = run.ema + 0.1 * rng.standard_normal(run.ema.size, np.float32)
    run.save()
    trained = load_trained(run.folder)
    x_t, t = rng.standard_normal((5, 8, 8, 1), np.float32), np.array([1, 5, 20, 40, 50])
    label = np.array([0, 1, 2, 3, 3])
    answer = trained.unet.forward(x_t, t, Tape(trained.theta), label)
    eps_hat = x0_and_eps(answer[..., :1], x_t, t, trained.schedule, predicts)[1]
    assert trained.variance == "learned" and trained.can_guide
    with trained.predictor() as one, trained.predictor(2) as two:
        for predict in (one, two):
            both = predict(x_t, t, label)
            assert np.allclose(both[..., :1], eps_hat, atol=1e-4)
            assert np.allclose(both[..., 1:], answer[..., 1:], atol=1e-5)
            assert predict(x_t, t, None).shape == (5, 8, 8, 2)


def test_it_learns_and_draws_what_it_was_shown(tmp_path):
    config = replace(CONFIG, steps=300, batch=16, micro_batch=16, every=1000, lr=1e-2, warmup=10)
    run = Run.start(replace(UNET, base=8, dropout=0.0), config, stripes(48), tmp_path / "run")
    train(run)
    assert np.mean(run.log.losses[-50:]) < 0.12 < np.mean(run.log.losses[:10])
    with Image.open(run.folder / "samples/stripes-final.png") as picture:
        pixels = np.asarray(picture)[::2, ::2].astype(float)
    rows = [pixels[2 + 10 * k : 10 + 10 * k, 2:10] for k in range(3)]  # the first of each label
    assert rows[0].mean() < 90 and rows[1].mean() > 165
    assert rows[2][:4].mean() + 100 < rows[2][4:].mean()


def test_a_run_without_labels_draws_and_resumes(tmp_path):
    unet = replace(UNET, classes=0)
    run = Run.start(unet, replace(CONFIG, steps=2), stripes(), tmp_path / "run")
    train(run)
    assert resume(run.folder).step == 2


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    runs = [start(tmp_path / "run") for _ in range(3)]
    assert [run.folder.name for run in runs] == ["run", "run-2", "run-3"]


def test_resuming_may_change_the_number_of_steps(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    run = resume(tmp_path / "run", steps=13)
    train(run)
    assert run.step == 13 and len(run.log.rows) == 13


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path, bad):
    run = start(tmp_path / "run")
    before = content(run.folder)
    run.theta[:] = bad
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="smaller learning"):
        train(run)
    after = content(run.folder)
    assert b"Step 0 of" in after.pop("index.html") and after == before


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"steps": 0}, "steps of 0: use 1 or more"),
        ({"micro_batch": -1}, "micro_batch of -1"),
        ({"lr": 0.0}, "lr of 0.0: use a number above 0"),
        ({"lr": float("nan")}, "lr of nan"),
        ({"seed": -1}, "seed of -1"),
        ({"label_drop": 1.5}, "label_drop of 1.5: use a number from 0 to 1"),
        ({"schedule": "square"}, "schedule of 'square': choose from linear, cosine"),
        ({"predicts": "noise"}, "predicts of 'noise': choose from eps, x0, v"),
        ({"loss": "L2"}, "loss of 'L2': choose from simple, hybrid, vlb"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(CONFIG, **change)


def test_resuming_with_fewer_steps_than_done_is_refused(finished):
    with pytest.raises(ValueError, match="has done 11 steps, more than 10"):
        resume(finished.folder, steps=10)


def test_a_run_whose_log_is_lost_goes_on(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run/log.csv").unlink()
    run = resume(tmp_path / "run", steps=12)
    train(run)
    assert len(run.log.losses) == 1 and run.log.rows[0].startswith("12,")
    assert json.loads((tmp_path / "run/config.json").read_text())["train"]["steps"] == 12


def test_a_folder_that_cannot_be_made_is_an_error_and_no_endless_search(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises(OSError):
        start(tmp_path / "gone" / "run")


def test_images_that_are_no_bytes_and_missing_labels_are_refused(tmp_path):
    data = stripes()
    for images, labels in ((data.images / 255, data.labels), (data.images, data.labels[:5])):
        with pytest.raises(ValueError, match="give bytes, and a label for each"):
            Run(UNET, CONFIG, Dataset("odd", images, labels), tmp_path)


@pytest.mark.parametrize(
    "shape, labels, sentence",
    [
        ((9, 8, 8, 3), 0, "the U-Net is for \\(8, 8, 1\\)"),
        ((9, 8, 8, 1), 3, "labels from 3 to 3, but the U-Net has 3 classes"),
        ((9, 8, 8, 1), -1, "labels from -1 to -1"),
        ((5, 8, 8, 1), 0, "a batch of 6 from 5 images"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, shape, labels, sentence
):
    data = Dataset("other", np.zeros(shape, np.uint8), np.full(shape[0], labels))
    with pytest.raises(ValueError, match=sentence):
        Run.start(UNET, CONFIG, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
