"""What a real GPU computes: recorded results, and a check of the emulator on a machine that has one.

`vectors` reads recorded operands and results into cases and compares `precision.matmul` with them, bit for
bit. `capture` builds ``probe.cu`` with nvcc and runs single tensor-core instructions, and library GEMMs
through PyTorch. ``python -m precision.hardware.verify`` draws fresh operands, runs both sides and prints
every difference. Importing these modules needs neither a GPU nor PyTorch.
"""
