"""Mutated SQL: whatever the text, rows or an error of ours."""
