"""All lessons in order."""

from learning.course.blocks import ATTENTION, CONV, RESBLOCK
from learning.course.diffusion import ANCESTRAL, DDIM, GUIDED, POSTERIOR, Q_SAMPLE
from learning.course.moving import ADD_TO_PIXELS, CONCAT, UPSAMPLE
from learning.course.small import DROPOUT, EMBEDDING, LINEAR, SILU
from learning.course.training import ADAM, LOSS
from learning.course.unet import GROUPNORM

LESSONS = (
    LINEAR, SILU, DROPOUT, EMBEDDING, UPSAMPLE, CONCAT, ADD_TO_PIXELS, GROUPNORM, CONV, ATTENTION,
    RESBLOCK, LOSS, ADAM, Q_SAMPLE, POSTERIOR, ANCESTRAL, DDIM, GUIDED,
)  # fmt: skip
