"""What watches the service: it reads the database and the releases, never the service itself."""
