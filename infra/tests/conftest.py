"""The fixtures of the project's own tests: the real data, and the small world for the service."""

from tests.conftest import params, postgres_server, raw, tables, weeks
from tests.integration.conftest import other, settings, small, stored

__all__ = ["other", "params", "postgres_server", "raw", "settings", "small", "stored", "tables", "weeks"]
