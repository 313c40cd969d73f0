"""Random cases, drawn, run, attributed to the side that errs, grouped and shrunk.

`draw` makes a case from a seed and a number alone, `trial` judges it in a worker, `owner` says who errs, `campaign` runs many,
and `pages` writes a page for each group.
"""
