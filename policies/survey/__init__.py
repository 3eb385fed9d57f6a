"""The overnight survey: overview tiles, focus, particles, spectroscopy where it is worth most."""

from policies.survey.policy import SurveyPolicy

__all__ = ["SurveyPolicy"]
