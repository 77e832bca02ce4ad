"""Storage profiles made real: which serves what, what it allows, whether commits are safe."""

from fusiondelta.storage._prefixes import by_prefix, covers, native_storage, profile_for
from fusiondelta.storage._probe import Checked, ProbeCheck, ProbeReport, probe
from fusiondelta.storage._safety import SafetyGate, UnsafeWritersWarning

__all__ = [
    "Checked",
    "ProbeCheck",
    "ProbeReport",
    "SafetyGate",
    "UnsafeWritersWarning",
    "by_prefix",
    "covers",
    "native_storage",
    "probe",
    "profile_for",
]
