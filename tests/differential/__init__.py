"""The same SQL over Delta, Parquet and memory, with optimisations on and off, and in DuckDB."""
