"""Monitoring of the predictions. It reads the database and the releases, never the service itself."""
