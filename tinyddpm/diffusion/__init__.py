"""Learn diffusion: the schedule, the process and its loss, samplers, the variational bound."""
