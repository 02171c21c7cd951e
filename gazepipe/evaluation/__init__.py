"""How well maps are predicted and people told apart: scores, statistics, tables, figures, folds.

A row of the tables is an object in `gazepipe.evaluation.rows.ROWS`; a new baseline is one more.
"""
