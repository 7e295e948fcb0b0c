"""What all tests share: a busy machine, on which Hypothesis's first draws are slow, is no fault of a test."""

from hypothesis import HealthCheck, settings

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
