"""The answers of real GPUs: recorded vectors, a probe that captures new ones, and comparisons with them.

``python -m precision.hardware`` compares the emulator with this machine's GPU on fresh operands.
"""

from precision.hardware._capture import GemmResult, Probe, Refused, build, library_gemm
from precision.hardware._gemm_models import Explanation, Model, explain, models
from precision.hardware._instructions import INSTRUCTIONS, MODELLED, Instruction
from precision.hardware._recorded_cases import Case, Outcome, check, emulate, read
from precision.hardware._verification import Report, verify_floors, verify_gemms, verify_instructions

__all__ = [
    "INSTRUCTIONS", "MODELLED", "Case", "Explanation", "GemmResult", "Instruction", "Model", "Outcome",
    "Probe", "Refused", "Report", "build", "check", "emulate", "explain", "library_gemm", "models", "read",
    "verify_floors", "verify_gemms", "verify_instructions",
]  # fmt: skip
