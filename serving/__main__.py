"""`python -m serving`: see `serving.server`."""

import gc

from ontime import environment

# Objects created by imports are never garbage, so collection would only slow the start; `create_app` enables it.
gc.disable()

if __name__ == "__main__":
    environment.enforce()
    from serving.server import main  # here, because multiprocessing imports this module again in each worker

    main()
