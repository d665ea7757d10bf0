"""Pictures show the right pixels at the right places; the progress line suits where it is shown."""

import io
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tinyddpm import Schedule, Step, UNet, UNetConfig, unet_diagram
from tinyddpm import progress as progress_module
from tinyddpm.evaluation.spectrum import Spectrum
from tinyddpm.pictures import diagram, gallery, plots
from tinyddpm.pictures.diagram import skips_of, unet_boxes
from tinyddpm.pictures.grids import image_grid, labelled_grid, save_gif, save_picture, to_bytes
from tinyddpm.pictures.plots import (
    CURVE,
    Axes,
    loss_curve,
    rate_distortion,
    round_numbers,
    smooth,
    spectrum,
)
from tinyddpm.progress import Progress, clock, in_words


def test_bytes_are_rounded_and_clipped():
    values = np.array([-2, -1, -0.999, 0, 1, 1.5])
    assert to_bytes(values).tolist() == [0, 0, 0, 128, 255, 255]
    every = np.arange(256)
    assert (to_bytes(every / 127.5 - 1) == every).all()  # the inverse of what is read


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_that_are_no_colours_stand_side_by_side_and_none_is_alpha(channels, rng):
    picture = image_grid(rng.uniform(-1, 1, (5, 4, 3, channels)), 2)
    assert picture.mode == "L"
    assert picture.size == (2 * (2 * (3 * channels + 2) + 2), 2 * (3 * (4 + 2) + 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_puts_images_row_by_row(channels, rng):
    images = rng.uniform(-1, 1, (5, 4, 3, channels))
    picture = np.asarray(image_grid(images, columns=2, scale=2)).reshape(40, 24, -1)[::2, ::2]
    assert picture.shape == (3 * 6 + 2, 2 * 5 + 2, channels)
    assert (picture[2:6, 7:10] == to_bytes(images[1])).all()
    assert (picture[14:18, 2:5] == to_bytes(images[4])).all()


def test_a_channel_is_a_colour_and_not_a_third_of_the_picture():
    red = np.full((1, 4, 4, 3), -1.0)
    red[..., 0] = 1
    assert image_grid(red, 1).getpixel((6, 6)) == (255, 0, 0)


def test_labelled_grid_gif_and_curve_are_readable_files(tmp_path, rng):
    images = rng.uniform(-1, 1, (3, 8, 8, 1))
    rows = [("one", images), ("two", images)]
    save_picture(labelled_grid(rows, head=["a", "b", "c"]), tmp_path / "l.png")
    frames = [image_grid(k * images, 3) for k in (0, 0.5, 1)]
    save_gif(frames, tmp_path / "g.gif", frame_s=0.1, last_s=1)
    save_picture(loss_curve(np.exp(-np.arange(500) / 100) + 0.02), tmp_path / "c.png")
    for losses in ([1.0], [1.3], [0.03], [0.9, 0.88, 0.85]):  # no power of ten among the last
        save_picture(loss_curve(losses), tmp_path / "one.png")
    rate = np.linspace(0, 2, 100)
    save_picture(rate_distortion(rate, 80 - 30 * rate, "mine"), tmp_path / "r.png")
    with Image.open(tmp_path / "g.gif") as gif:
        durations = []
        for k in range(gif.n_frames):
            gif.seek(k)
            durations.append(gif.info["duration"])
        assert durations == [100, 100, 1000] and gif.info["loop"] == 0
    for name in ("l.png", "c.png", "one.png", "r.png"):
        with Image.open(tmp_path / name) as picture:
            picture.load()
            assert len(np.unique(np.asarray(picture))) > 2


@pytest.mark.parametrize("log", [False, True])
def test_a_curve_goes_through_its_points(log):
    sheet = Image.new("RGB", (300, 200), (255, 255, 255))
    axes = Axes(sheet, (50, 30, 250, 150), (0, 10), (1, 100), "x", "y", log)
    assert axes.point(0, 1) == (50, 150) and axes.point(10, 100) == (250, 30)
    middle = 10 if log else 50.5
    assert axes.point(5, middle) == pytest.approx((150, 90))
    assert axes.point(20, 1000) == (250, 30) and axes.point(-1, 0.1) == (50, 150)  # at the border
    axes.curve([0, 5, 10], [1, middle, 100])
    assert sheet.getpixel((150, 90)) == CURVE and sheet.getpixel((230, 140)) != CURVE


def test_scales_have_round_numbers():
    for high, wanted in ((10, [0, 5, 10]), (2.1, [0, 1, 2]), (0.45, [0, 0.2, 0.4])):
        assert round_numbers(0, high) == pytest.approx(wanted)


def test_smooth_is_the_mean_of_the_last_values(rng):
    losses = rng.random(250)
    average = smooth(losses, 100)
    assert average[0] == losses[0] and average[9] == pytest.approx(losses[:10].mean())
    assert average[249] == pytest.approx(losses[150:].mean())


def test_a_strip_shows_what_it_says_at_the_times_it_says(monkeypatch):
    texts = []
    monkeypatch.setattr(gallery, "labelled_grid", lambda rows: texts.extend(rows))
    respaced = Schedule.linear(100).respaced(20, "quadratic")
    steps = [
        Step(t, np.full((1, 2, 2, 1), t), np.full((1, 2, 2, 1), -t)) for t in range(19, -1, -1)
    ]
    for of, sign in (("x", 1), ("x0_hat", -1)):
        texts.clear()
        gallery.denoising_strip(np.zeros((1, 2, 2, 1)), steps, respaced.times, of)
        assert texts[0][0] == "noise" and texts[-1][0] == "t = 0"
        for text, images in texts[1:]:
            assert text == f"t = {respaced.times[sign * int(images[0, 0, 0, 0])]}"


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still unless told otherwise."""
    time = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: time[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    return time


def show(progress, now, steps):
    with progress:
        for done in range(1, steps + 1):
            now[0] += 1
            progress.show(done, "loss 0.1234")


def test_on_a_terminal_it_is_one_line_redrawn(now):
    screen = Screen()
    show(Progress("training", 1000, unit="images", per=32, stream=screen), now, 100)
    assert screen.getvalue().count("\n") == 1 and screen.getvalue().endswith("\n")
    last = screen.getvalue().rstrip().split("\r")[-1]
    assert last == "training  100/1,000   10%  loss 0.1234  32 images/s  1:40, 15:00 left"


def test_on_a_terminal_it_is_redrawn_ten_times_a_second_at_most(now):
    screen = Screen()
    with Progress("x", 10_000, stream=screen) as progress:
        for done in range(1, 1001):
            now[0] += 0.001
            progress.show(done)
    assert 8 <= screen.getvalue().count("\r") <= 12


@pytest.mark.parametrize("place", ["pipe", "CI", "dumb"])
def test_elsewhere_it_is_plain_lines_now_and_then(now, place, monkeypatch):
    if place == "CI":
        monkeypatch.setenv("CI", "true")
    if place == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO() if place == "pipe" else Screen()
    show(Progress("training", 1000, stream=stream), now, 100)
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert 4 <= stream.getvalue().count("\n") <= 7
    assert stream.getvalue().startswith("training  2/1,000")


def test_a_resumed_run_counts_only_what_it_did_itself(now):
    stream = io.StringIO()
    with Progress("training", 1000, start=500, stream=stream) as progress:
        now[0] += 50
        progress.show(550)
    assert "0:50, 7:30 left" in stream.getvalue()


def test_clear_leaves_an_empty_line(now):
    screen = Screen()
    progress = Progress("x", 10, stream=screen)
    progress.show(1)
    progress.clear()
    assert screen.getvalue().split("\r")[-2].strip() == "" and screen.getvalue().endswith("\r")


def test_the_line_fits_the_terminal(now, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    screen = Screen()
    show(Progress("a title that is long enough", 1000, stream=screen), now, 3)
    assert max(len(line) for line in screen.getvalue().rstrip("\n").split("\r")) <= 29


def test_the_time_left_is_seen_on_a_terminal_of_80_columns(now, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen()
    progress = Progress("offline-digits", 2800, unit="images", per=32, stream=screen)
    now[0] += 99
    progress.show(1310, "loss 0.0374")
    assert screen.getvalue().rstrip().endswith("423 images/s  1:39, 1:53 left")


def test_clock():
    shown = [clock(seconds) for seconds in (0, 59.6, 61, 3600, 90061)]
    assert shown == ["0:00", "1:00", "1:01", "1:00:00", "25:01:01"]


def test_durations_in_words():
    seconds = (1, 80, 5000, 6000, 86_000, 400_000, 9e6, 1e8)
    words = ["83.3 minutes", "1.7 hours", "23.9 hours", "4.6 days", "104 days", "3.2 years"]
    assert [in_words(s) for s in seconds[:2]] == ["less than two minutes"] * 2
    assert [in_words(s) for s in seconds[2:]] == [f"about {word}" for word in words]


def test_an_ending_that_names_no_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="names no kind of picture"):
        save_picture(Image.new("L", (2, 2)), tmp_path / "picture.txt")
    assert not any(tmp_path.iterdir())
    save_picture(Image.new("L", (2, 2)), tmp_path / "picture.JPG")


@pytest.mark.parametrize(
    "config", [UNetConfig(blocks=1), UNetConfig.ddpm_cifar10(), UNetConfig(classes=3, blocks=3)]
)
def test_diagram_has_the_blocks_and_skips_of_the_network(config):
    """A block of the way up sees the channels before it and those of its skip."""
    boxes, unet = list(unet_boxes(config)), UNet(config)
    stages = [s for level, _ in unet.down for s in level] + unet.middle
    stages += [s for level, _ in unet.up for s in level]
    blocks = [i for i, box in enumerate(boxes) if box.kind != "conv"]
    assert [boxes[i].kind == "attention" for i in blocks] == [bool(s.attention) for s in stages]
    channels, c = [], config.base
    for box in boxes:  # convolutions keep the channels that they are given
        c = int(box.text) if box.kind != "conv" else c
        channels.append(c)
    skips = {receiver: sender for _, sender, receiver in skips_of(boxes)}
    for i, stage in zip(blocks, stages):
        seen = channels[i - 1] + (channels[skips[i]] if i in skips else 0)
        assert stage.res.conv1.W.shape == (3, 3, seen, channels[i])
    assert all(boxes[i].level == boxes[sender].level for i, sender in skips.items())
    picture = unet_diagram(config)
    assert len(picture.getcolors(1 << 20)) > 5 and picture.mode == "RGB"


def test_words_of_the_legend_stand_side_by_side():
    draw, font = Mock(), ImageFont.load_default(size=13)
    diagram._legend(draw, font, 100, labels=True)
    end = 0
    for call in draw.text.call_args_list:
        (x, _), text = call.args[:2]
        assert x > end
        end = x + font.getlength(text)
    assert text == "t and label" and len(draw.text.call_args_list) == 5


@pytest.fixture
def pen(monkeypatch):
    """What writes and draws lines in pictures, and notes where."""
    pen = Mock()
    monkeypatch.setattr(ImageDraw, "Draw", lambda image: pen)
    return pen


@pytest.mark.parametrize("name", ["loss", "spectrum"])
def test_words_of_a_plot_stand_around_its_curves(name, pen, rng):
    if name == "loss":
        picture = loss_curve(1 + rng.random(300), "a title")
    else:
        f = np.linspace(0, 0.5, 15)
        picture = spectrum(*(Spectrum(f, 1 + rng.random(15)) for _ in range(2)), "a title")
    lines = [call.args[0] for call in pen.line.call_args_list if "width" in call.kwargs]
    dots = [len(call.args[0]) for call in pen.point.call_args_list]
    assert dots == ([300] if name == "loss" else [])  # one for each step
    x, y = np.concatenate(lines).T
    borders = [call.args[0] for call in pen.line.call_args_list if "width" not in call.kwargs]
    left, right, top = borders[0][0], borders[0][2], 34
    assert left <= x.min() and x.max() <= right
    assert top < y.min() and y.max() < picture.height - 52  # curves touch neither
    titles = 0
    for call in pen.text.call_args_list:
        (x, y), text, anchor = *call.args[:2], call.kwargs.get("anchor")
        assert 0 < x < picture.width and 0 < y < picture.height
        titles += text == "a title" and y < top
        if anchor == "rm":
            assert x < left
        if anchor == "mt":
            assert y > picture.height - 52
    assert titles == 1


@pytest.mark.parametrize("config", [UNetConfig(blocks=1), UNetConfig.ddpm_cifar10()])
def test_lines_of_a_diagram_go_from_box_to_box(config, pen):
    boxes, picture = list(unet_boxes(config)), unet_diagram(config)
    drawn = [call.args[0] for call in pen.rectangle.call_args_list]
    drawn, legend = drawn[: len(boxes)], drawn[len(boxes) :]
    tops, lowest = sorted({y0 for _, y0, _, _ in drawn}), max(y1 for _, _, _, y1 in drawn)
    assert [tops.index(y0) for _, y0, _, _ in drawn] == [box.level for box in boxes]
    assert 0 < drawn[0][0] and drawn[-1][2] < picture.width and len(legend) == 3
    assert all(lowest < y0 and y1 < picture.height for _, y0, _, y1 in legend)

    texts = [call.args[:2] for call in pen.text.call_args_list]
    sizes = [text for text in texts if " x " in text[1]]
    assert [text for _, text in sizes] == [f"{size} x {size}" for size in config.sizes]
    for ((x, y), _), top in zip(sizes, tops):
        assert x < drawn[0][0] and y == top + (drawn[0][3] - drawn[0][1]) / 2

    lines = [np.reshape(call.args[0], (-1, 2)) for call in pen.line.call_args_list][:-1]
    assert all(((line[1:] == line[:-1]).any(axis=1)).all() for line in lines)  # no slant
    heads = [np.reshape(call.args[0], (3, 2)) for call in pen.polygon.call_args_list]
    for line, (tip, one, other) in zip(lines, heads, strict=True):
        back = tip - (one + other) / 2  # the head is as wide on both sides of its line
        assert (tip == line[-1]).all() and back @ (one - other) == 0 and back.sum() > 0
        assert back @ (line[-1] - line[-2]) > 0 and (one != other).any()
    ways, skips = lines[: len(boxes) - 1], lines[len(boxes) - 1 :]
    for way, (_, y0, x1, y1), (x2, y2, _, y3) in zip(ways, drawn, drawn[1:]):
        assert x1 < way[1][0] < x2  # side by side
        assert way[0].tolist() == [x1, (y0 + y1) / 2] and way[-1].tolist() == [x2, (y2 + y3) / 2]
    roofs = {}
    for line, (_, sender, receiver) in zip(skips, skips_of(boxes), strict=True):
        for end, (x0, y0, x1, _) in zip(line[[0, -1]], (drawn[sender], drawn[receiver])):
            assert end.tolist() == [(x0 + x1) / 2, y0]
        above = [y for y in [0, *(y + drawn[0][3] - drawn[0][1] for y in tops)] if y < line[0][1]]
        assert max(above) < line[1][1] < line[0][1]  # over boxes of its level, under those above
        roofs.setdefault(line[0][1], []).append((line[1][0], line[2][0], line[1][1]))
    for level in roofs.values():  # from the innermost to the outermost, each over the one before
        assert all(a[0] > b[0] and a[1] < b[1] and a[2] > b[2] for a, b in zip(level, level[1:]))

    dots = [np.reshape(call.args[0], (2, 2)).mean(axis=0) for call in pen.ellipse.call_args_list]
    places = [place for place, box in zip(drawn, boxes) if box.kind != "conv"]
    assert [list(dot) for dot in dots[:-1]] == [[(x + z) / 2, y] for x, _, z, y in places]


def test_a_logarithmic_scale_has_powers_of_ten_and_of_few_decades_more():
    assert plots._powers(0.9, 25) == [1, 2, 5, 10, 20]
    assert len(plots._powers(1, 1e4)) == 13 and len(plots._powers(1, 1e5)) == 6


def test_words_above_a_grid_stand_over_the_middle_of_their_columns(pen, rng):
    images = rng.uniform(-1, 1, (3, 8, 8, 1))
    sheet, grid = labelled_grid([("a row", images)], head=["a", "b", "c"]), image_grid(images, 3)
    heads = [call.args[0][0] for call in pen.text.call_args_list if call.args[1] in ("a", "b", "c")]
    middles = [2 + 4 + i * (8 + 2) for i in range(3)]  # behind a gap, half an image; times scale
    assert np.allclose(heads, sheet.width - grid.width + 2 * np.array(middles), atol=2)


def test_a_dot_lies_around_its_place(pen):
    diagram._dot(pen, 10, 20)
    x0, y0, x1, y1 = pen.ellipse.call_args.args[0]
    assert (x0 + x1, y0 + y1) == (20, 40) and x1 - x0 == y1 - y0 > 0
