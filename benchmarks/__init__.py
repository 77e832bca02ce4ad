"""Benchmarks of fusiondelta against other engines, and the TPC-H material they share."""
