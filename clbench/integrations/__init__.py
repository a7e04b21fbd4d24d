"""Other libraries, a package each: their strategies under their own names, such as ``avalanche.EWC(ewc_lambda=1000)``.

The package's name is the first part of a strategy's name; the first line of its docstring is what ``list strategies``
says of it. It gives the functions ``build``, ``describe``, ``load`` and ``source_hash``, which do for the rest of the
name what those in ``clbench.plugins`` do for a file. ``clbench.plugins`` finds it by its name.
"""
