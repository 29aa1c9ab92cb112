"""What a person runs now and then: reports, replays, backups, a new problem."""
