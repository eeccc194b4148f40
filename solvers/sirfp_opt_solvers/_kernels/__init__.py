"""Compiled kernels (numba); imported by a solver when it runs, never before."""
