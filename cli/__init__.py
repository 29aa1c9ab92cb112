"""`ontime`, the command line. A command imports what it calls when it runs, so that help and completion are fast."""
