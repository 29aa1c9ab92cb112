"""`python -m serving`: see `serving.run`."""

import gc

# All that the imports make stays, so nothing of it is worth looking through; `create_app` switches it on again.
gc.disable()

from serving.run import main  # noqa: E402  the line above is for these imports

if __name__ == "__main__":
    main()
