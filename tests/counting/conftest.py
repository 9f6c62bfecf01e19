"""Hypothesis profiles: each run tries the same random examples, few in fast tests and many in slow tests.

`HYPOTHESIS_PROFILE=explore` tries other examples at each run. `mutants` does not shrink a failing example, since a
mutant needs only a failure.
"""

import os

from hypothesis import HealthCheck, Phase, settings

_COMMON = settings(
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("worlds", _COMMON)
settings.register_profile("mutants", _COMMON, phases=[Phase.explicit, Phase.generate])
settings.register_profile("explore", _COMMON, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "worlds"))
