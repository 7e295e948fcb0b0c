"""What all tests share: a busy machine, on which Hypothesis's first draws are slow, is no fault of a test.

Nor is a first call that compiles: the processes that tests start keep their standard error for other things.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

_QUIET = "ignore:precision:UserWarning"
os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _QUIET]))
