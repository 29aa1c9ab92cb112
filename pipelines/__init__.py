"""The stages: each reads files, calls the library and writes files. dvc.yaml defines their order."""
