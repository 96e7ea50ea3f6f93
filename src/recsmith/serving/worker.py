"""`python -m recsmith.serving.worker`: one of several workers, started by `Workers`; not to be called by hand."""

from __future__ import annotations

import gc

from recsmith.runtime import prepare_environment

if __name__ == "__main__":
    prepare_environment()
    gc.disable()  # as in `recsmith serve`
    from recsmith.serving.workers import main

    raise SystemExit(main())
