"""What other people's users reported, and the test that asks the same of this code.

A record of what was learned: {test: (report, what went wrong there)}. Add a row with a test.
"""

import re
from pathlib import Path

import pytest

LUCIDRAINS, DIFFUSERS = "lucidrains/denoising-diffusion-pytorch", "huggingface/diffusers"
REPORTS = {
    "test_doors.py::test_what_is_not_finite_becomes_no_picture_and_no_number": (
        f"{LUCIDRAINS}#92, {DIFFUSERS}#4820", "black pictures after a loss that was NaN",
    ),
    "test_training.py::test_a_gradient_gone_bad_is_named_and_the_last_good_checkpoint_stays": (
        f"{LUCIDRAINS}#61", "a checkpoint from before the NaN led to NaN again",
    ),
    "test_doors.py::test_only_rows_that_were_trained_are_asked_for": (
        f"{LUCIDRAINS}#199", "the probability of dropping labels was still active in sampling",
    ),
    "test_optim.py::test_ema_forgets_its_start_and_then_moves_slowly": (
        "openai/improved-diffusion#59", "averaged weights drew noise after 10,000 steps",
    ),
    "test_samplers.py::test_guidance_extrapolates_from_the_null_label_in_one_call": (
        f"{LUCIDRAINS}#155", "a weight w, or a scale 1 + w?",
    ),
    "test_samplers.py::test_no_noise_is_added_in_the_last_step": (
        "IDEALLab/EngiOpt#67", "noise was added in the last step, too",
    ),
    "test_samplers.py::test_the_large_variance_with_few_steps_is_warned_of": (
        "ermongroup/ddim#5", "FID 280 with the large variance in few steps",
    ),
    "test_samplers.py::test_x0_is_clipped_before_it_is_used": (
        "hojonathanho/diffusion#5", "where is x0 clipped, and why?",
    ),
    "test_schedule.py::test_every_schedule_ends_in_noise": (
        "IDEALLab/EngiOpt#67", "250 steps of unscaled betas left 0.282 of the image",
    ),
    "test_schedule.py::test_logarithms_have_the_second_entry_in_place_of_the_first": (
        "openai/guided-diffusion#69, openai/improved-diffusion#45", "the first large variance",
    ),
    "test_schedule.py::test_respaced_times_are_those_of_the_papers_code": (
        f"{DIFFUSERS}#2585", "50 steps began at time 980 of 999",
    ),
    "test_schedule.py::test_respacing_keeps_both_ends_and_the_marginals": (
        f"{DIFFUSERS}#3006, {DIFFUSERS}#11347, {DIFFUSERS}#12633",
        "betas, and the time before, of steps that are skipped",
    ),
    "test_training.py::test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved": (
        f"openai/guided-diffusion#50, {LUCIDRAINS}#175", "training went on with NaN for days",
    ),
    "test_training.py::test_a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bytes": (
        "openai/improved-diffusion#102, facebookresearch/DiT#35", "the loss jumped after resuming",
    ),
    "test_training.py::test_drawing_pictures_does_not_change_the_training": (
        f"{DIFFUSERS}#2706", "averaged weights leaked into the training",
    ),
    "test_data.py::test_the_next_mirror_is_asked_when_one_is_wrong_or_away": (
        "pytorch/vision#1938, pytorch/vision#3497", "MNIST's host answered 403 and 503",
    ),
}  # fmt: skip


@pytest.mark.parametrize("test", REPORTS)
def test_every_report_has_its_test(test):
    file, name = test.split("::")
    assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8")
    report, what = REPORTS[test]
    assert what and all(re.fullmatch(r"[\w-]+/[\w-]+#\d+", one) for one in report.split(", "))
