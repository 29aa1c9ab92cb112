"""The stages: each reads files, calls the library, writes files. dvc.yaml alone knows their order."""
