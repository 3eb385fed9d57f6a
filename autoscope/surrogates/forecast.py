"""What rival models foretold of one measurement."""

from __future__ import annotations

from autoscope.surrogates.health import judged_std, log_density


class Forecast:
    """What every member foretold of one measurement: mean, std with all noise, and its factor of recalibration."""

    def __init__(
        self, means: dict[str, float], stds: dict[str, float], scales: dict[str, float], noise_std: float
    ) -> None:
        self.means, self.stds, self.scales, self.noise_std = means, stds, scales, noise_std

    def densities(self, value: float) -> dict[str, float]:
        """Return each recalibrated member's log density of the value."""
        return {k: log_density(value, self.means[k], self.stds[k] * self.scales[k]) for k in self.means}

    def judged(self, name: str, value: float) -> float:
        """Return the log density by which health judges a member."""
        return log_density(value, self.means[name], judged_std(self.stds[name], self.scales[name]))
