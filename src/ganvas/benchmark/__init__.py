"""Benchmarks: tables of many runs, by one command."""
