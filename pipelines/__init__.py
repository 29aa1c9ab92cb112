"""The stages: each reads files, calls the library and writes files. dvc.yaml defines their order."""

import gc

# The imports of a stage create hundreds of thousands of objects that stay. With the default of 700 new objects, the
# search for garbage among them takes a tenth of the imports' time.
gc.set_threshold(50_000)
