"""``python -m clbench``. An old Python must be able to read this file, to say that it is too old."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout can be tried with any Python
        found = ".".join(map(str, sys.version_info[:2]))
        print("error: clbench needs Python 3.11 or newer; this is Python " + found, file=sys.stderr)
        sys.exit(2)
    # Python looks first where it was started: last is soon enough, and no folder there hides a library.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))
    from clbench.cli import main

    sys.exit(main())
