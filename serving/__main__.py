"""`python -m serving`: see `serving.run`."""

import gc

from ontime import environment

# All that the imports make stays, so nothing of it is worth looking through; `create_app` switches it on again.
gc.disable()

if __name__ == "__main__":
    environment.settle()
    from serving.run import main  # here, so that a process that is started again has not imported it twice

    main()
