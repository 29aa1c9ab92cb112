"""The stages: each reads files, calls the library and writes files. dvc.yaml defines their order."""

import gc

# The imports of a stage create hundreds of thousands of objects that stay, and by default Python searches them for
# garbage after every 700 new ones.
gc.set_threshold(50_000)
